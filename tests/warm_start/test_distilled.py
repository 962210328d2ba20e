"""A warm start that is distilled from an encoder: its file, and a training that goes on to the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from support.teacher import Patches

from ktl.encoders.training.settings import EncoderTrainingConfig
from ktl.errors import UsageError
from ktl.generators.network import NetworkGenerator
from ktl.learning.settings import PRETRAINED_RATE
from ktl.models.edge_model import extractor_weights
from ktl.warm_start.distilled import distil_warm_start
from ktl.warm_start.settings import Architecture
from ktl.wire import decode_warm_start

CONFIG = EncoderTrainingConfig(images=48, batch=12, generated=20, log_every=2, save_every=2)


@pytest.mark.parametrize("wanted", [Architecture("cnn4", 3, 16), Architecture("resnet4", 1, 16)])
def test_a_stopped_one_goes_on_to_the_same_file(
    wanted: Architecture, photographs: Path, tiny_generator: NetworkGenerator, tmp_path: Path
) -> None:
    whole = distil_warm_start(photographs, tmp_path / "whole", Patches(), tiny_generator, wanted, CONFIG)
    assert whole.name == f"{wanted.model}-{wanted.channels}x16.safetensors"
    like = extractor_weights(wanted.model, wanted.channels, wanted.image_size)
    warm_start = decode_warm_start(whole.read_bytes(), like)
    assert all(torch.isfinite(weight).all() for weight in warm_start.weights.values())
    assert warm_start.body_rate == pytest.approx(PRETRAINED_RATE)
    stops = iter([False, True])
    parts = tmp_path / "parts"
    distil_warm_start(photographs, parts, Patches(), tiny_generator, wanted, CONFIG, should_stop=lambda: next(stops))
    resumed = distil_warm_start(photographs, parts, Patches(), tiny_generator, wanted, CONFIG, resume=True)
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_generator_s_images_alone_are_enough(tiny_generator: NetworkGenerator, tmp_path: Path) -> None:
    wanted = Architecture("cnn4", 1, 16)
    file = distil_warm_start(None, tmp_path / "out", Patches(), tiny_generator, wanted, CONFIG)
    assert decode_warm_start(file.read_bytes(), extractor_weights("cnn4", 1, 16)).body_rate == pytest.approx(0.1)
    with safe_open(tmp_path / "out" / "targets.safetensors", "pt") as targets:
        assert targets.get_slice("embeddings").get_shape()[0] == CONFIG.generated
    with pytest.raises(UsageError, match="no images to learn from: name a folder or tar file, or have some generated"):
        distil_warm_start(None, tmp_path, Patches(), tiny_generator, wanted, replace(CONFIG, generated=0))
