"""Data sets that torchvision downloads, by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ktl.data.dataset import Dataset, Split
from ktl.data.images import Images, fit_image, flatten
from ktl.errors import DataError

# name: (class in torchvision.datasets, its own size in pixels, channels, how a split is asked for)
SOURCES: dict[str, tuple[str, int, int, str]] = {
    "mnist": ("MNIST", 28, 1, "train"),
    "kmnist": ("KMNIST", 28, 1, "train"),
    "fashion-mnist-70k": ("FashionMNIST", 28, 1, "train"),
    "cifar10": ("CIFAR10", 32, 3, "train"),
    "cifar100": ("CIFAR100", 32, 3, "train"),
    "svhn": ("SVHN", 32, 3, "split"),
    "flowers102": ("Flowers102", 32, 3, "split"),
}


def data_folder() -> Path:
    """Where downloads are kept: $KTL_DATA, or ~/.cache/ktl."""
    return Path(os.environ.get("KTL_DATA", Path.home() / ".cache" / "ktl"))


def load_vision(name: str, image_size: int | None) -> Dataset:
    """Downloads (once) and opens the data set `name` of SOURCES. Raises DataError if it cannot be had."""
    import torchvision

    attribute, native_size, channels, by = SOURCES[name]
    kind = getattr(torchvision.datasets, attribute)
    size = image_size or native_size
    splits = []
    for split in ("train", "test"):
        chosen = {"train": split == "train"} if by == "train" else {"split": split}
        try:
            source = kind(data_folder(), download=True, **chosen)
        except ImportError as error:
            raise DataError(f"{name} needs {error.name}: pip install {error.name}") from error
        except Exception as error:  # torchvision's readers raise anything, AssertionError included
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"cannot get {name} ({reason}); check the network and the files in {data_folder()}"
            ) from error
        splits.append(Split(VisionImages(source, size, channels), _labels(source)))
    names = getattr(source, "classes", None) or [str(i) for i in range(int(splits[0].labels.max()) + 1)]
    return Dataset(name, [str(n) for n in names], size, channels, *splits)


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
