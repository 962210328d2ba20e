"""Distillation of an encoder: figures, files, and a training that goes on to the same bits."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from support.teacher import Patches

from ktl.encoders import load_encoder
from ktl.encoders.training.run import train_encoder
from ktl.encoders.training.settings import EncoderTrainingConfig
from ktl.errors import UsageError
from ktl.generators.base import drawn
from ktl.generators.network import NetworkGenerator

CONFIG = EncoderTrainingConfig(images=48, batch=12, generated=20, log_every=2, save_every=2)


def test_a_stopped_training_goes_on_to_the_same_weights(
    photographs: Path, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    counts: list[int] = []
    whole = train_encoder(
        photographs,
        tmp_path / "whole",
        Patches(),
        partial(drawn, tiny_generator),
        CONFIG,
        licence="CC0",
        on_embedded=counts.append,
    )
    assert counts == [40, 60]  # photos, then generated images
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows] == [24, 48]
    assert all(row["loss"] > 0 and -1 <= row["held_out_cosine"] <= 1 for row in rows)
    encoder = load_encoder(str(whole))
    assert (encoder.dimension, encoder.image_size, encoder.licence) == (256, 48, "CC0")

    stops = iter([False, True])
    parts, counts = tmp_path / "parts", []
    train_encoder(
        photographs,
        parts,
        Patches(),
        partial(drawn, tiny_generator),
        CONFIG,
        licence="CC0",
        should_stop=lambda: next(stops),
    )
    with pytest.raises(UsageError, match="already holds a training; go on with --resume"):
        train_encoder(photographs, parts, Patches(), partial(drawn, tiny_generator), CONFIG)
    resumed = train_encoder(
        photographs,
        parts,
        Patches(),
        partial(drawn, tiny_generator),
        CONFIG,
        licence="CC0",
        resume=True,
        on_embedded=counts.append,
    )
    assert counts == []
    assert resumed.read_bytes() == whole.read_bytes()
    assert load_encoder(str(resumed)).fingerprint == encoder.fingerprint


def test_embeddings_that_are_kept_are_of_one_encoder(
    photographs: Path, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    train_encoder(
        photographs, tmp_path / "out", Patches(), partial(drawn, tiny_generator), CONFIG, should_stop=lambda: True
    )
    other = Patches()
    other.fingerprint = "other"
    with pytest.raises(UsageError, match="has the embeddings of other images or of another encoder"):
        train_encoder(photographs, tmp_path / "out", other, partial(drawn, tiny_generator), CONFIG, resume=True)
