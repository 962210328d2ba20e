"""Image-vector pairs: what a cloud sends back, and what an edge's auxiliary task learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ktl.class_indices import check_range
from ktl.errors import DataError


@dataclass(frozen=True)
class ImageVectorPairs:
    """Generated images and the latents that they were drawn from.

    images (n, c, size, size) uint8; vectors (n, H) float32; classes (n,) int64, the class around whose aligned
    prototype a latent lies. Several pairs may share a class. `metric`: vectors of alike images point to alike
    directions, as an encoder's do; else each of their numbers is by itself.
    """

    images: Tensor
    vectors: Tensor
    classes: Tensor
    metric: bool = False

    def __len__(self) -> int:
        return len(self.classes)

    def first(self, count: int) -> ImageVectorPairs:
        """The first `count` pairs."""
        return self[:count]

    def __getitem__(self, part: slice) -> ImageVectorPairs:
        """A part of the pairs."""
        return replace(self, images=self.images[part], vectors=self.vectors[part], classes=self.classes[part])

    def validate(self, num_classes: int) -> None:
        """Raises DataError, naming the first value that is wrong."""
        n = len(self.classes)
        if self.images.ndim != 4 or self.vectors.ndim != 2 or len(self.images) != n or len(self.vectors) != n:
            shapes = f"images {tuple(self.images.shape)}, vectors {tuple(self.vectors.shape)}, {n} classes"
            raise DataError(f"image-vector pairs disagree: {shapes}")
        if n and not torch.isfinite(self.vectors).all():
            raise DataError("a vector of the image-vector pairs is not finite")
        check_range(self.classes, num_classes)


def concatenate(parts: Sequence[ImageVectorPairs]) -> ImageVectorPairs:
    """All pairs of several downloads, in order."""
    return replace(
        parts[0],
        images=torch.cat([part.images for part in parts]),
        vectors=torch.cat([part.vectors for part in parts]),
        classes=torch.cat([part.classes for part in parts]),
    )
