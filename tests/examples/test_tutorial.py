"""docs/tutorial.md works as written, but for its minute of training: on a busy machine that is too little."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.documents import blocks_of
from support.photographs import save_photographs

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
TINY_IMAGENET = SHARED / "tiny-imagenet-10k.tar"
CLASSES = 5
PHOTOGRAPHS = 16  # of each class


QUICK = "--steps 50 --warmup-steps 10 --pairs-per-class 20 --threads 1 "


def embedded_photographs(folder: Path) -> None:
    save_photographs(folder, CLASSES, PHOTOGRAPHS)


def tiny_imagenet_photographs(folder: Path) -> None:
    if not TINY_IMAGENET.is_file():
        pytest.skip("needs shared/data/tiny-imagenet-10k.tar")
    taken: dict[str, int] = {}
    with tarfile.open(TINY_IMAGENET) as tar:
        for member in tar:
            found = re.search(r"/train/(\w+)/(\w+\.JPEG)$", member.name)
            if (
                found is None
                or (found[1] not in taken and len(taken) == CLASSES)
                or taken.get(found[1], 0) == PHOTOGRAPHS
            ):
                continue
            taken[found[1]] = taken.get(found[1], 0) + 1
            stream = tar.extractfile(member)
            assert stream is not None
            (folder / found[1]).mkdir(parents=True, exist_ok=True)
            (folder / found[1] / found[2].replace(".JPEG", ".jpg")).write_bytes(stream.read())
    assert len(taken) == CLASSES


@pytest.mark.slow
@pytest.mark.parametrize("photographs", [embedded_photographs, tiny_imagenet_photographs])
def test_the_tutorial_works_as_it_is_written(photographs: Callable[[Path], None], tmp_path: Path) -> None:
    photographs(tmp_path / "photos")
    blocks = [block for block in blocks_of(ROOT / "docs" / "tutorial.md") if block.language == "sh"]
    commands = "\n".join(block.text for block in blocks if block.mark == ("run by", "tests/examples/test_tutorial.py"))
    assert "--time-budget 60 " in commands
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euxc", commands.replace("--time-budget 60 ", QUICK)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    predictions = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(predictions) == CLASSES * PHOTOGRAPHS
    right = sum(Path(prediction["file"]).parent.name == prediction["label"] for prediction in predictions)
    assert right > 1.5 * PHOTOGRAPHS  # chance: 1 class in 5
    script = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") == 2]
    assert [(name, label) for name, label, _ in script] == [(p["file"], p["label"]) for p in predictions]
    assert (tmp_path / "compared.html").stat().st_size > 10_000
    assert len(re.findall(r"^(?:torch|onnxruntime|int8) +1 +1 ", done.stdout, flags=re.MULTILINE)) == 3
