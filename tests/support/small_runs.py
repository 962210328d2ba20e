"""Fixtures: one small task, one finished run of it beside its local-only twin, what two equal runs have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ktl.checkpoint import load_checkpoint
from ktl.cloud.embedded import EmbeddedCloud
from ktl.data import load_dataset
from ktl.data.fewshot import FewShotTask, draw_task
from ktl.data.settings import DataConfig
from ktl.edge.compare import Comparison, train_beside_local
from ktl.edge.settings import RunConfig
from ktl.generators import load_generator
from ktl.generators.network import NetworkGenerator
from ktl.learning.settings import TrainingConfig
from ktl.loop.settings import CloudConfig
from ktl.objectives import TRANSFERS


@pytest.fixture(scope="session")
def small_config(small_bundle: Path, tiny_generator_file: Path) -> RunConfig:
    """Three rounds of 15 steps on 4 shots a class, after 15 steps of warm-up on 24 pairs."""
    return RunConfig(
        model="cnn4",
        warm_start="edge",
        data=DataConfig(str(small_bundle), shots=4),
        rounds=3,
        training=TrainingConfig(steps=45),
        transfer=TRANSFERS.choose("image-vector", warmup_steps=15),
        cloud=CloudConfig(str(tiny_generator_file), pairs_per_class=8),
        threads=1,
    )


@pytest.fixture(scope="session")
def small_task(small_bundle: Path) -> FewShotTask:
    return draw_task(load_dataset(str(small_bundle)), shots=4, ways=None, seed=0)


@pytest.fixture
def cloud(tiny_generator: NetworkGenerator) -> EmbeddedCloud:
    return EmbeddedCloud(tiny_generator)


@pytest.fixture(scope="session")
def finished(
    small_config: RunConfig, tiny_generator: NetworkGenerator, tmp_path_factory: pytest.TempPathFactory
) -> Comparison:
    """`small_config` left alone until its end; tests that change files work on a copy."""
    return train_beside_local(small_config, tmp_path_factory.mktemp("finished") / "run", EmbeddedCloud(tiny_generator))


@pytest.fixture(scope="session")
def metrics_of() -> Callable[[Path], list[dict[str, Any]]]:
    """The rows of a run's metrics.jsonl without the one figure that no seed decides."""

    def read(run: Path) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]

    return read


@pytest.fixture(scope="session")
def contents_of(metrics_of: Callable[[Path], list[dict[str, Any]]]) -> Callable[[Path], dict[str, Any]]:
    """All of a run that its config decides to the bit: weights, optimizer state, payloads, metrics, labels."""

    def read(run: Path) -> dict[str, Any]:
        tensors, _ = load_checkpoint(run / "checkpoint.safetensors")
        contents = {name: _digest(tensor.numpy().tobytes()) for name, tensor in tensors.items()}
        contents |= {file.name: _digest(file.read_bytes()) for file in (run / "wire").glob("*")}
        return contents | {"metrics": metrics_of(run), "labels": (run / "labels.json").read_text()}

    return read


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="session")
def embedded_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the embedded data, short: 40 steps after 10 on 60 pairs."""
    config = RunConfig(
        training=TrainingConfig(steps=40),
        transfer=TRANSFERS.choose("image-vector", warmup_steps=10),
        cloud=CloudConfig(pairs_per_class=6),
        threads=1,
    )
    out = tmp_path_factory.mktemp("embedded") / "run"
    train_beside_local(config, out, EmbeddedCloud(load_generator("builtin")))
    return out
