"""What a distillation learns from: photos at one size, generated images as they were drawn."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from ktl.encoders.training.targets import SIZE, training_images
from ktl.generators.base import drawn
from ktl.generators.network import NetworkGenerator
from ktl.seeds import stream


def test_generated_images_keep_the_size_they_were_drawn_in(photographs: Path, tiny_generator: NetworkGenerator) -> None:
    draw = partial(drawn, tiny_generator)
    photos, generated = training_images(photographs, draw, 20, seed=0)
    assert photos.shape == (40, 3, SIZE, SIZE)
    assert torch.equal(generated, torch.cat(list(draw(20, stream(0, "encoder training")))))
    (alone,) = training_images(None, draw, 20, seed=0)
    assert torch.equal(alone, generated)


def test_large_generated_images_are_kept_at_the_size_of_photos() -> None:
    large = torch.full((3, 3, 2 * SIZE, 2 * SIZE), 7, dtype=torch.uint8)
    (kept,) = training_images(None, lambda count, rng: [large], 3, seed=0)
    assert torch.equal(kept, large[:, :, :SIZE, :SIZE])
