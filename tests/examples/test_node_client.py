"""examples/client.mjs, the protocol's second client: what it downloads is what ktl's own cloud gives, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.gateway import Fault, Gateway
from support.served import ServedCloud

from ktl.cloud.embedded import EmbeddedCloud
from ktl.etf import simplex_etf
from ktl.generators import load_generator
from ktl.prototypes import Prototypes
from ktl.seeds import stream
from ktl.wire import SessionRequest, encode_message, encode_prototypes

CLIENT = Path(__file__).resolve().parents[2] / "examples" / "client.mjs"
REQUEST = SessionRequest(
    num_classes=5,
    image_size=16,
    channels=3,
    pairs_per_class=20,
    download_bytes=100_000,
    alignment="robust",
    image_format="webp",
    seed=11,
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_generator_file: Path) -> Iterator[ServedCloud]:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    server = ServedCloud(tmp_path_factory.mktemp("served"), tiny_generator_file)
    yield server
    server.stop()


def rounds() -> list[Prototypes]:
    """First the ETF's own vectors of some classes, then any unit vectors of all."""
    vectors = torch.nn.functional.normalize(torch.randn(5, 5, generator=stream(1, "vectors")), dim=1)
    ones = simplex_etf(5, 5, stream(REQUEST.seed, "etf")).T[[0, 2, 3]]
    return [
        Prototypes(ones, torch.tensor([0, 2, 3]), torch.tensor([2, 2, 9])),
        Prototypes(vectors, torch.arange(5), torch.tensor([1, 2, 3, 4, 5])),
    ]


def task(first: Prototypes, second: Prototypes) -> str:
    told = [{"classes": each.classes.tolist(), "counts": each.counts.tolist()} for each in (first, second)]
    told[1]["vectors"] = second.vectors.tolist()
    return json.dumps({"request": json.loads(encode_message(REQUEST)), "rounds": told})


def test_its_pairs_are_those_of_the_embedded_cloud_over_a_line_that_breaks(
    served: ServedCloud, tiny_generator_file: Path, tmp_path: Path
) -> None:
    embedded = EmbeddedCloud(load_generator(str(tiny_generator_file)))
    embedded.open(encode_message(REQUEST), [])
    expected = [embedded.exchange({0: encode_prototypes(each)}) for each in rounds()]
    (tmp_path / "task.json").write_text(task(*rounds()))
    with Gateway(served.url) as line:
        line.faults = [
            Fault("POST", "/sessions", status=503, headers={"Retry-After": "0"}),
            Fault("GET", "/rounds/1/pairs", cut_after=len(expected[0]) // 2),
            Fault("GET", "/rounds/2/pairs", damage=lambda body: body[:-1] + bytes([body[-1] ^ 1])),
        ]
        environment = os.environ | {"KTL_URL": line.url, "KTL_TOKEN": served.tokens["edge"]}
        command = ["node", CLIENT, tmp_path / "task.json", tmp_path / "out"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert line.faults == []
        ranges = [headers["range"] for _, path, headers in line.seen if "range" in headers]
    assert [(tmp_path / "out" / f"pairs-{number}.safetensors").read_bytes() for number in (1, 2)] == expected
    assert done.stdout.splitlines()[0] == f"round 1: 60 pairs, {len(expected[0])} bytes"
    assert len(ranges) == 1


def test_it_says_what_a_cloud_refuses(served: ServedCloud, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(task(*rounds()))
    environment = os.environ | {"KTL_URL": served.url, "KTL_TOKEN": "ktl_none"}
    command = ["node", CLIENT, tmp_path / "task.json", tmp_path / "out"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "401: a valid token is needed" in done.stderr
