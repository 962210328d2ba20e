"""One finished run of three classes, and a made-up one of a hundred."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ktl.cloud.embedded import EmbeddedCloud
from ktl.data.settings import DataConfig
from ktl.edge.compare import train_beside_local
from ktl.edge.record import add_valid_latents, read_record, write_record
from ktl.edge.settings import RunConfig
from ktl.generators.base import sample_latents
from ktl.generators.network import NetworkGenerator
from ktl.learning.settings import TrainingConfig
from ktl.loop.settings import CloudConfig
from ktl.objectives import TRANSFERS
from ktl.seeds import stream


@pytest.fixture(scope="session")
def run(
    small_bundle: Path,
    tiny_generator_file: Path,
    tiny_generator: NetworkGenerator,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Two rounds of 20 steps."""
    config = RunConfig(
        data=DataConfig(str(small_bundle), shots=4),
        rounds=2,
        training=TrainingConfig(steps=40),
        transfer=TRANSFERS.choose("image-vector", warmup_steps=20),
        cloud=CloudConfig(str(tiny_generator_file), pairs_per_class=8),
        threads=1,
    )
    out = tmp_path_factory.mktemp("report") / "colours"
    train_beside_local(config, out, EmbeddedCloud(tiny_generator))
    add_valid_latents(out, sample_latents(tiny_generator, 40, stream(0, "valid")))
    return out


@pytest.fixture(scope="session")
def hundred(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run as if it had 100 classes, 5,000 test images, 64 x 64 shots of noise (the worst to compress)."""
    out = shutil.copytree(run, tmp_path_factory.mktemp("hundred") / "hundred")
    rng, classes = np.random.default_rng(0), np.arange(100)
    labels = np.repeat(classes, 50)
    predicted = np.where(rng.random(5000) < 0.3, labels, rng.integers(0, 100, 5000))
    wrong = np.flatnonzero(labels != predicted)[:24]
    for folder in (out, out / "local-only"):
        record = read_record(folder)
        arrays = record.arrays | {
            "labels": labels,
            "predicted": predicted,
            "confidence": rng.random(5000).astype(np.float32),
            "shots": rng.integers(0, 256, (400, 64, 64, 3), dtype=np.uint8),
            "shots_labels": np.repeat(classes, 4),
            "mistakes": rng.integers(0, 256, (24, 64, 64, 3), dtype=np.uint8),
            "mistakes_index": wrong,
        }
        if folder == out:
            arrays |= {
                "generated": rng.integers(0, 256, (100, 64, 64, 3), dtype=np.uint8),
                "generated_labels": classes,
                "latents": rng.normal(size=(600, 512)).astype(np.float16),
                "latents_labels": np.tile(classes, 6),
                "valid_latents": rng.normal(size=(600, 512)).astype(np.float16),
                "prototypes": rng.normal(size=(100, 100)).astype(np.float32),
                "prototypes_labels": classes,
            }
        write_record(folder, replace(record, class_names=[f"class {c}" for c in classes], arrays=arrays))
    return out
