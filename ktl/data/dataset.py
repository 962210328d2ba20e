"""A labelled data set with a train and a test split, whose images are read only when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ktl.data.depth import measured_ranges
from ktl.data.images import Images, read_image
from ktl.data.reading import Ranges
from ktl.errors import DataError


class ImageArray(Protocol):
    """Images by index: an int64 array of indices (m,) gives uint8 (m, size, size, channels).

    A numpy array of images is one; a class of your own needs only `__getitem__`, and may read its images then.
    """

    def __getitem__(self, index: NDArray[np.int64]) -> Images: ...


@dataclass(frozen=True)
class Split:
    """`images`: n of them, by index; `labels` (n,) int64, indices into the data set's class names."""

    images: ImageArray
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """What every source of data becomes, and what a package's own must return.

    `ktl.data.in_memory.from_arrays` makes one of arrays; a class with `__getitem__` reads images when they are needed.
    `name` is what reports call it. `class_names` has at least two names. `image_size` in pixels: all images are square
    and of this size. `channels` is 1 (grey) or 3 (RGB). Each split has at least one image of every
    class. On `calibration`, if there is one, probabilities are made honest; nothing is tested on it.
    Raises DataError, naming the data set and what is wrong with it.
    """

    name: str
    class_names: list[str]
    image_size: int
    channels: int
    train: Split
    test: Split
    calibration: Split | None = None

    def __post_init__(self) -> None:
        if len(self.class_names) < 2:
            raise DataError(f"{self.name} has {len(self.class_names)} class: a classifier needs at least 2")
        if self.channels not in (1, 3):
            raise DataError(f"{self.name} has images of {self.channels} channels: give 1 (grey) or 3 (RGB)")
        for part, split in (("train", self.train), ("test", self.test), ("calibration", self.calibration)):
            if split is not None:
                self._check_labels(part, split.labels)

    def _check_labels(self, part: str, labels: NDArray[np.int64]) -> None:
        classes = len(self.class_names)
        if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype != np.int64:
            kind = f"{labels.dtype} {labels.shape}" if isinstance(labels, np.ndarray) else type(labels).__name__
            raise DataError(f"{part}.labels of {self.name} is {kind}: give an int64 array (n,)")
        if labels.min(initial=0) < 0:
            raise DataError(f"{self.name} has label {labels.min()}: labels are indices of class names, from 0")
        counts = np.bincount(labels, minlength=classes)
        if len(counts) > classes:
            raise DataError(f"{self.name} has label {labels.max()} but only {classes} class names")
        if (counts == 0).any():
            missing = self.class_names[int((counts == 0).argmax())]
            raise DataError(f"class {missing!r} of {self.name} has no {part} image; add some or remove the class")


class FileImages:
    """Image files, read and fitted to size when indexed; deep ones by `ranges`, or each by its own values."""

    def __init__(self, files: Sequence[Path], size: int, channels: int, ranges: Ranges | None = None) -> None:
        self.files = files
        self.size = size
        self.channels = channels
        self.ranges = ranges

    def __getitem__(self, index: NDArray[np.int64]) -> Images:
        return np.stack([read_image(self.files[i], self.size, self.channels, ranges=self.ranges) for i in index])


def ranges_of(images: ImageArray, index: NDArray[np.int64]) -> Ranges:
    """Of the deep pictures among images `index` (m,); empty where there is none, or images are no files."""
    return measured_ranges(images.files[i] for i in index) if isinstance(images, FileImages) else {}


def read_by(images: ImageArray, ranges: Ranges) -> ImageArray:
    """The same images, deep files read by `ranges`."""
    return FileImages(images.files, images.size, images.channels, ranges) if isinstance(images, FileImages) else images
