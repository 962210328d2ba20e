"""A labelled data set with a train and a test split, whose images are read only when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ktl.data.images import Images, fit_image, read_image
from ktl.errors import DataError


class ImageArray(Protocol):
    """Images by index: an array of indices (m,) gives uint8 (m, size, size, channels)."""

    def __getitem__(self, index: NDArray[np.int64]) -> Images: ...


@dataclass(frozen=True)
class Split:
    """images: n of them; labels (n,) int64, indices into the data set's class names."""

    images: ImageArray
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """What every source of data becomes. image_size in pixels, square; channels 1 or 3."""

    name: str
    class_names: list[str]
    image_size: int
    channels: int
    train: Split
    test: Split

    def __post_init__(self) -> None:
        if len(self.class_names) < 2:
            raise DataError(f"{self.name} has {len(self.class_names)} class: a classifier needs at least 2")
        for split, labels in (("train", self.train.labels), ("test", self.test.labels)):
            counts = np.bincount(labels, minlength=len(self.class_names))
            if len(counts) > len(self.class_names):
                raise DataError(f"{self.name} has label {labels.max()} but only {len(self.class_names)} class names")
            if (counts == 0).any():
                missing = self.class_names[int((counts == 0).argmax())]
                raise DataError(f"class {missing!r} of {self.name} has no {split} image; add some or remove the class")


class FileImages:
    """Image files, read and fitted to size when indexed."""

    def __init__(self, files: Sequence[Path], size: int, channels: int) -> None:
        self.files = files
        self.size = size
        self.channels = channels

    def __getitem__(self, index: NDArray[np.int64]) -> Images:
        return np.stack([read_image(self.files[i], self.size, self.channels) for i in index])


class ResizedArray:
    """uint8 images (n, h, w, c) in memory, fitted to another size when indexed."""

    def __init__(self, array: Images, size: int) -> None:
        self.array = array
        self.size = size

    def __getitem__(self, index: NDArray[np.int64]) -> Images:
        channels = self.array.shape[3]
        pictures = (Image.fromarray(image.squeeze(2) if channels == 1 else image) for image in self.array[index])
        return np.stack([fit_image(picture, self.size, channels) for picture in pictures])
