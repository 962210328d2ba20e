"""What small distillations learn from: an encoder that needs no weights, and some pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ktl.encoders.base import Encoder


class Patches(Encoder):
    """The pixels of 11 x 11 pictures: 363 numbers, more than the 256 that a small encoder learns."""

    dimension, image_size, fingerprint = 363, 11, "patches"

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def photographs_in(folder: Path) -> Path:
    """Writes twenty of 20 x 24 pixels."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(20):
        Image.fromarray(random.integers(0, 255, (5, 5, 3), dtype=np.uint8)).resize((20, 24)).save(
            folder / f"{index:02d}.png"
        )
    return folder
