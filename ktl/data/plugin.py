"""Data sets of other packages: what they return is checked when it is opened, so that errors name the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ktl.data.dataset import Dataset, Split
from ktl.errors import DataError, KtlError, UsageError


def adapted(name: str, function: Any) -> Callable[[int | None], Dataset]:
    """A package's own function of `image_size` (pixels, or None for the data's own size) that returns a `Dataset`,
    for which `ktl.data.in_memory.from_arrays` is the short way; its docstring's first line is what `ktl datasets` says.

    The loader that is returned raises UsageError when `function` cannot be called or returns something else, and
    DataError when the images are not uint8 (n, size, size, channels) or are not of the size that was asked for.
    """
    if not callable(function):
        raise UsageError(f"data set {name!r} is a {type(function).__name__}: give a function of image_size")

    def load(image_size: int | None) -> Dataset:
        try:
            dataset = function(image_size)
        except KtlError:
            raise
        except Exception as error:  # the package's code may raise anything
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UsageError(f"data set {name!r} fails for image_size {image_size}: {reason}") from error
        if not isinstance(dataset, Dataset):
            raise UsageError(f"data set {name!r} returns a {type(dataset).__name__}: it must return a ktl Dataset")
        if image_size is not None and dataset.image_size != image_size:
            raise DataError(f"data set {name!r} has images of {dataset.image_size} pixels: {image_size} were asked for")
        for part, split in (("train", dataset.train), ("test", dataset.test)):
            _check_images(f"{part}.images of data set {name!r}", split, dataset)
        return dataset

    load.__doc__ = function.__doc__  # its first line is what listings say
    return load


def _check_images(label: str, split: Split, dataset: Dataset) -> None:
    """Reads the first image: what is wrong with one is nearly always wrong with all, and all may not fit in memory."""
    size = (1, dataset.image_size, dataset.image_size, dataset.channels)
    try:
        images = split.images[np.array([0])]
    except KtlError:
        raise
    except Exception as error:  # the package's code may raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"{label} cannot be indexed by an array of indices: {reason}") from error
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape != size:
        kind = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(f"{label} is {kind} for one index: expected uint8 {size}")
