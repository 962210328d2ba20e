"""Folders of all kinds, made up: every file is used or named, and desktop and device agree on every picture."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ktl.data import load_dataset
from ktl.edge.inference.predictor import Predictor
from ktl.errors import KtlError

Ktl = Callable[..., subprocess.CompletedProcess[str]]

# what names a class, as a folder: composed or not, with spaces and signs, like a split, not UTF-8
NAMES = [
    b"bus",
    b"train",
    b"test images 2",
    "cafe\u0301".encode(),
    b"na\xefve",
    "日本".encode(),
    b"a b",
    b"-x",
    b"100%s",
]
FORMATS = {
    **{"a.jpg": ("JPEG", "RGB"), "b.JPEG": ("JPEG", "L"), "c.jfif": ("JPEG", "CMYK"), "d.png": ("PNG", "RGBA")},
    **{"e.png": ("PNG", "P"), "f.png": ("PNG", "I;16"), "g.webp": ("WEBP", "RGB"), "h.bmp": ("BMP", "RGB")},
    **{"i.gif": ("GIF", "P"), "j.tif": ("TIFF", "F"), "k.tiff": ("TIFF", "I"), "l.jp2": ("JPEG2000", "RGB")},
    **{"without suffix": ("PNG", "1"), "wrong suffix.txt": ("JPEG", "RGB"), "-m.ppm": ("PPM", "RGB")},
}
OTHERS = {  # a file that is no picture, and what says so
    "notes.txt": b"none",
    "IMG_1.HEIC": b"\0\0\0\x18ftypheic" + bytes(90),
    "film.mov": b"\0\0\0\x14ftypqt  " + bytes(90),
    ".hidden.jpg": b"\xff\xd8\xff",
    "._a.jpg": b"\0\5\x16\7" + bytes(60),
    "Thumbs.db": b"\xd0\xcf\x11\xe0",
    "@eaDir/a.jpg/thumbnail.jpg": b"\xff\xd8\xff",
}


@dataclass(frozen=True)
class Tree:
    """Of one folder: its classes' names, the pictures and other files of each, and how many pictures are cut short."""

    classes: list[bytes]
    pictures: list[list[str]]
    others: list[list[str]]
    splits: tuple[str, str] | None
    damaged: int

    def write(self, root: Path) -> list[Path]:
        """Returns all pictures that are whole."""
        whole, left = [], self.damaged
        for split in self.splits or (".",):
            for name, pictures, others in zip(self.classes, self.pictures, self.others, strict=True):
                folder = root / split / os.fsdecode(name)
                for file in others:
                    (folder / file).parent.mkdir(parents=True, exist_ok=True)
                    (folder / file).write_bytes(OTHERS[file])
                for number, file in enumerate(pictures):
                    content = encoded(file, level=60 * number)
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / file).write_bytes(content[: len(content) // 2] if left else content)
                    if not left:
                        whole.append(folder / file)
                    left = max(0, left - 1)
        return whole

    @property
    def copies(self) -> int:
        return 2 if self.splits else 1


def encoded(file: str, level: int) -> bytes:
    kind, mode = FORMATS[file]
    rising = np.add.outer(np.arange(11), 17 * np.arange(13)) % 200 + level % 50
    if mode == "I;16":
        image = Image.fromarray((rising * 200).astype(np.uint16))
    elif mode in ("I", "F"):
        image = Image.fromarray(rising.astype(np.int32 if mode == "I" else np.float32))
    else:
        image = Image.fromarray(
            np.stack([rising, rising.T[:11, :11].mean() + 0 * rising, 255 - rising], 2).astype("u1")
        )
        image = image.convert(mode)
    content = BytesIO()
    image.save(content, kind)
    return content.getvalue()


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    classes = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=3, unique=True))
    files = st.lists(st.sampled_from(sorted(FORMATS)), min_size=4, max_size=6, unique=True)
    others = st.lists(st.sampled_from(sorted(OTHERS)), max_size=3, unique=True)
    splits = draw(st.sampled_from([None, None, ("Train", "VAL"), ("train_images", "test_images")]))
    each = [draw(files) for _ in classes], [draw(others) for _ in classes]
    return Tree(classes, *each, splits, draw(st.sampled_from([0, 0, 0, 1, 2])))


@contextmanager
def written(tree: Tree) -> Iterator[tuple[Path, list[Path]]]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "photos"
        yield root, tree.write(root)


class Lines(logging.Handler):
    """What ktl says while it is attached."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> list[str]:
        logging.getLogger("ktl").addHandler(self)
        return self.lines

    def __exit__(self, *_: object) -> None:
        logging.getLogger("ktl").removeHandler(self)


@given(trees())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_every_file_is_used_or_named(tree: Tree) -> None:
    with written(tree) as (root, whole):
        if tree.damaged:
            with pytest.raises(KtlError, match=rf"^{tree.damaged} of ") as caught:
                load_dataset(str(root))
            assert str(caught.value).count("cannot read the image") == tree.damaged
        with Lines() as lines:
            dataset = load_dataset(str(root), skip_damaged=True)
        assert len(dataset.train.labels) + len(dataset.test.labels) == len(whole)
        said = [line for line in lines if line.startswith("left out of")]
        counted = sum(int(number) for line in said for number in re.findall(r"(?:: |, )(\d+) ", line))
        assert counted == tree.copies * sum(map(len, tree.others))
        assert sum("skipped" in line for line in lines) == bool(tree.damaged)


@given(trees())
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_desktop_and_device_agree_on_every_picture(ktl: Ktl, tree: Tree) -> None:
    check_agreement(ktl, tree)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(trees())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_desktop_and_device_agree_on_many_pictures(ktl: Ktl, tree: Tree) -> None:
    check_agreement(ktl, tree)


def check_agreement(ktl: Ktl, tree: Tree) -> None:
    with written(tree) as (root, whole):
        run, bundle = root.parent / "run", root.parent / "bundle"
        training = ("edge", "train", "--local-only", "--steps", 2, "--shots", 1, "--threads", 1, "--skip-damaged")
        for command in (
            (*training, "--data", root, "--out", run),
            ("edge", "evaluate", run),
            ("export", run, "--out", bundle),
        ):
            ended = ktl(*command)
            assert ended.returncode == 0, ended.stderr
            assert "Traceback" not in ended.stderr
        answered = subprocess.run([sys.executable, bundle / "predict.py", *whole], capture_output=True, check=True)
        lines = os.fsdecode(answered.stdout).splitlines()
        device = {path: (label, float(share)) for path, label, share in (line.split("\t") for line in lines)}
        desktop = list(Predictor(run).predict(whole))
        assert len(device) == len(desktop) == len(whole)
        for prediction in desktop:
            (label, share), answer = prediction.top[0], device[prediction.name]
            assert label == answer[0]
            assert abs(share - answer[1]) <= 0.001
