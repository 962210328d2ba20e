"""What small distillations learn from: an encoder that needs no weights."""

from __future__ import annotations

from torch import Tensor

from ktl.encoders.base import Encoder


class Patches(Encoder):
    """The pixels of 11 x 11 pictures: 363 numbers, more than the 256 that a small encoder learns."""

    dimension, image_size, fingerprint = 363, 11, "patches"

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)
