"""A data source: shapes in random colours and places, drawn when they are asked for."""

import numpy as np
from numpy.typing import NDArray

from ktl import Dataset, from_arrays

NAMES = ["disc", "square", "cross"]


def shapes(image_size: int | None) -> Dataset:
    """Discs, squares and crosses in random colours, RGB of any size (32 x 32), 30 train + 60 test images each."""
    size = image_size or 32
    return from_arrays("colour-shapes", train=drawn(size, 90, 0), test=drawn(size, 180, 1), class_names=NAMES)


def drawn(size: int, count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(NAMES)
    images = rng.integers(0, 80, (count, size, size, 3), dtype=np.uint8)  # a dark, noisy ground
    line = np.linspace(-2, 2, size)
    for image, label in zip(images, labels, strict=True):
        x, y = np.abs(line[None, :] - rng.uniform(-1, 1)), np.abs(line[:, None] - rng.uniform(-1, 1))
        disc, square = np.hypot(x, y) < 0.9, np.maximum(x, y) < 0.8
        cross = (np.minimum(x, y) < 0.25) & (np.maximum(x, y) < 0.9)
        image[(disc, square, cross)[label]] = rng.integers(100, 256, 3)
    return images, labels
