"""Edges on several devices in one session: a federation's bits, and what happens when one of them is away."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.hall import Hall
from support.served import Command, ServedCloud

from ktl.checkpoint import load_checkpoint
from ktl.data import load_dataset
from ktl.data.partition import share_out
from ktl.data.partition_files import save_partition
from ktl.data.settings import PartitionConfig
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.learning.settings import RECIPES
from ktl.loop.settings import CloudConfig
from ktl.objectives import TRANSFERS

DEVICES = [f"cam-{number}" for number in range(1, 6)]
IMAGES = ("--image-size", 16, "--pairs-per-class", 8, "--seed", 3)


@pytest.fixture(scope="module")
def hall(tiny_generator_file: Path, small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    folder = tmp_path_factory.mktemp("hall")
    parts = PartitionConfig("dirichlet", clients=len(DEVICES), beta=1.0)
    save_partition(share_out(load_dataset(str(small_bundle)), parts, 0), folder / "parts")
    server = ServedCloud(folder, tiny_generator_file)
    made = ["cloud", "token", "create", *DEVICES, "--into", folder / "tokens", "--database", server.database]
    assert Command(made, folder / "tokens.log").wait(60) == 0
    yield Hall(server, folder / "tokens", folder / "parts")
    assert server.stop() == 0


@pytest.fixture
def federation(hall: Hall, tiny_generator_file: Path) -> FederationConfig:
    """What the devices do, in one process."""
    return FederationConfig(
        source=str(hall.parts),
        rounds=2,
        training=replace(RECIPES["tuned"], steps=6),
        transfer=TRANSFERS.choose("image-vector", warmup_steps=4, warmup_batch=16, joint_batch=8),
        cloud=CloudConfig(str(tiny_generator_file), "pooled", pairs_per_class=8),
        seed=3,
    )


def test_five_devices_end_with_the_bits_of_a_federation_in_one_process(
    hall: Hall, federation: FederationConfig, tmp_path: Path
) -> None:
    hall.create(tmp_path / "create.log", "hall", "--edges", ",".join(DEVICES), "--rounds", 2, *IMAGES)
    with ThreadPoolExecutor(len(DEVICES)) as pool:
        started = {name: pool.submit(hall.device, name, federation, tmp_path / name) for name in DEVICES}
        rows = {name: future.result() for name, future in started.items()}
    here = federate(federation, tmp_path / "here", workers=0)
    for client, name in enumerate(DEVICES):
        assert [row["test_accuracy"] for row in rows[name]] == [row["by_client"][str(client)] for row in here.rows]
        assert [(row["edges"], row["late"], row["missed"]) for row in rows[name]] == [(DEVICES, [], None)] * 2
        there, _ = load_checkpoint(tmp_path / name / "checkpoint.safetensors")
        kept, _ = load_checkpoint(tmp_path / "here" / "clients" / f"client-{client}.2.safetensors")
        assert there.keys() == kept.keys()
        assert [key for key in kept if not torch.equal(there[key], kept[key])] == []
    assert sum(row["bytes_up"] for row in here.rows) == sum(row["bytes_up"] for own in rows.values() for row in own)
