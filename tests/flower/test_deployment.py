"""A SuperLink with TLS and three SuperNodes on loopback, whose keys it knows: what one process does, to the bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs the extra ktl[flower]")

from support.fleet import Deployment, deployment, kill
from support.small_fleet import pooled_in, without_seconds
from support.waiting import eventually

from ktl.data import load_dataset
from ktl.data.partition import FederatedData, share_out
from ktl.data.partition_files import save_partition
from ktl.data.settings import PartitionConfig
from ktl.federation.run import federate
from ktl.federation.trained_client import kept_client
from ktl.files import Row, read_rows
from ktl.flower.server_app import served_by
from ktl.learning.evaluation import evaluate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # every message starts a process at its node


@pytest.fixture(scope="module")
def apart(small_bundle: Path) -> FederatedData:
    return share_out(load_dataset(str(small_bundle)), PartitionConfig("dirichlet", clients=3, beta=5.0), 0)


@pytest.fixture(scope="module")
def devices(apart: FederatedData, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("fleet")) as fleet:
        for client, own in enumerate(apart.clients):
            save_partition(replace(apart, clients=[own]), fleet.home / f"data-{client}")
            fleet.join(client, fleet.home / f"data-{client}")
        yield fleet


def rows_in(out: Path) -> list[Row]:
    return read_rows(out / "metrics.jsonl") if (out / "metrics.jsonl").exists() else []


def config_for(generator: Path, method: str, out: Path) -> dict[str, object]:
    settings = f"cloud.generator={generator} cloud.pairs_per_class=8 training.batch=16 precision=float32"
    sizes = {"rounds": 2, "training.steps": 6, "transfer.warmup_steps": 4, "answer_seconds": 400.0}
    return {"method": method, "out": str(out), "settings": settings} | sizes


@pytest.mark.parametrize("method", ["fedktl", "fedproto", "fml"])
def test_three_devices_end_with_the_numbers_of_one_process(
    devices: Deployment, apart: FederatedData, tiny_generator_file: Path, tmp_path: Path, method: str
) -> None:
    out = devices.home / method
    config = config_for(tiny_generator_file, method, out)
    run = devices.run(config)
    assert eventually(lambda: len(rows_in(out)) == 2, 700), devices.flwr("log", run, "loopback", "--show")
    here = federate(served_by(config).config, tmp_path / "here", data=apart, workers=0)
    assert without_seconds(rows_in(out)) == without_seconds(here.rows)
    kept = kept_client(devices.home / "device-1")  # of the run that was the last, on the device
    task = kept.learner.task
    tested = evaluate(kept.predictor, task.test_images, task.test_labels, 3, kept.learner.device)
    assert tested.accuracy == here.rows[-1]["by_client"]["1"]


def test_three_devices_add_up_securely(
    devices: Deployment, apart: FederatedData, tiny_generator_file: Path, tmp_path: Path
) -> None:
    out = devices.home / "secure"
    config = config_for(tiny_generator_file, "fedktl", out) | {"rounds": 1, "secure_aggregation": True}
    run = devices.run(config)
    assert eventually(lambda: len(rows_in(out)) == 1, 700), devices.flwr("log", run, "loopback", "--show")
    plain = replace(served_by(config).config, secure_aggregation=False)
    here = federate(plain, tmp_path / "here", data=apart, workers=0)
    assert rows_in(out)[0]["left_out"] == {}
    assert rows_in(out)[0]["accuracy"] == pytest.approx(here.rows[0]["accuracy"], abs=0.05)  # one of 23 images
    found, expected = pooled_in(out), pooled_in(here.out)
    assert found.counts.tolist() == expected.counts.tolist()
    assert (found.means - expected.means).abs().max() < 0.02  # int8 at each of three devices, or once
    assert [file.name for file in (out / "wire").glob("*-statistics-*")] == ["round-001-statistics-0.safetensors"]


def test_a_device_and_the_server_may_be_killed_in_a_round(
    devices: Deployment, apart: FederatedData, tiny_generator_file: Path
) -> None:
    out = devices.home / "killed"
    config = config_for(tiny_generator_file, "fedproto", out) | {"rounds": 3, "answer_seconds": 100.0}
    run = devices.run(config)
    assert eventually(lambda: len(rows_in(out)) == 1, 400), devices.flwr("log", run, "loopback", "--show")
    kill(devices.nodes[1])
    assert eventually(lambda: len(rows_in(out)) == 2, 400)
    devices.flwr("stop", run, "loopback")  # the ServerApp, in round 3
    devices.join(1, devices.home / "data-1")
    run = devices.run(config)
    assert eventually(lambda: len(rows_in(out)) == 3, 700), devices.flwr("log", run, "loopback", "--show")
    rows = rows_in(out)
    print(json.dumps([row["left_out"] for row in rows]))
    assert [row["round"] for row in rows] == [1, 2, 3]
    assert [sorted(row["left_out"]) for row in rows] == [[], ["1"], []]
