"""Data sets that torchvision downloads, by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ktl.data.dataset import Dataset, Split
from ktl.data.images import Images, fit_image
from ktl.data.reading import flatten
from ktl.errors import DataError


def data_folder() -> Path:
    """Where downloads are kept: $KTL_DATA, or ~/.cache/ktl."""
    return Path(os.environ.get("KTL_DATA", Path.home() / ".cache" / "ktl"))


@dataclass(frozen=True)
class VisionSource:
    """`attribute` is a class of torchvision.datasets, `size` its images' own in pixels; `by` how a split is asked for.

    Called with `image_size` (pixels, or None for its own), it downloads the data set once and opens it. Raises
    DataError if it cannot be had.
    """

    name: str
    attribute: str
    size: int
    channels: int
    by: Literal["train", "split"] = "train"

    def __call__(self, image_size: int | None) -> Dataset:
        size = image_size or self.size
        sources = [self._open(part) for part in ("train", "test")]
        splits = [Split(VisionImages(source, size, self.channels), _labels(source)) for source in sources]
        names = getattr(sources[1], "classes", None) or [str(i) for i in range(int(splits[0].labels.max()) + 1)]
        return Dataset(self.name, [str(n) for n in names], size, self.channels, *splits)

    def _open(self, part: str) -> Any:
        import torchvision

        chosen = {"train": part == "train"} if self.by == "train" else {"split": part}
        try:
            return getattr(torchvision.datasets, self.attribute)(data_folder(), download=True, **chosen)
        except ImportError as error:
            raise DataError(f"{self.name} needs {error.name}: pip install {error.name}") from error
        except Exception as error:  # torchvision's readers raise anything, AssertionError included
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"cannot get {self.name} ({reason}); check the network and the files in {data_folder()}"
            ) from error


MNIST = VisionSource("mnist", "MNIST", 28, 1)
KMNIST = VisionSource("kmnist", "KMNIST", 28, 1)
FASHION_MNIST = VisionSource("fashion-mnist-70k", "FashionMNIST", 28, 1)
CIFAR10 = VisionSource("cifar10", "CIFAR10", 32, 3)
CIFAR100 = VisionSource("cifar100", "CIFAR100", 32, 3)
SVHN = VisionSource("svhn", "SVHN", 32, 3, by="split")
FLOWERS102 = VisionSource("flowers102", "Flowers102", 32, 3, by="split")


class VisionImages:
    """A torchvision data set's pictures, fitted to size when indexed."""

    def __init__(self, source: Any, size: int, channels: int) -> None:
        self.source = source
        self.size = size
        self.channels = channels

    def __getitem__(self, index: NDArray[np.int64]) -> Images:
        pictures = (self.source[int(i)][0] for i in index)
        return np.stack([fit_image(flatten(picture), self.size, self.channels) for picture in pictures])


def _labels(source: Any) -> NDArray[np.int64]:
    for attribute in ("targets", "labels", "_labels"):
        if hasattr(source, attribute):
            return np.asarray(getattr(source, attribute), dtype=np.int64)
    raise DataError(f"torchvision's {type(source).__name__} does not tell its labels; use an image folder instead")
