"""Data sets of arrays in memory: what an .npz file holds, and the quickest way to a data set of your own.

    def shapes(image_size: int | None) -> Dataset:
        return from_arrays("shapes", train=(images, labels), test=(more_images, more_labels), image_size=image_size)

in my_package/data.py is `--data my_package.data:shapes`; as an entry point of `ktl.datasets` it has a name of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ktl.data.dataset import Dataset, ImageArray, Split
from ktl.data.images import Images, fit_image
from ktl.errors import DataError

MAX_CLASSES = 1000

Array = NDArray[Any]
Part = tuple[Array, Array]


def from_arrays(
    name: str,
    *,
    train: Part,
    test: Part,
    class_names: Sequence[str] | None = None,
    image_size: int | None = None,
    source: str | None = None,
) -> Dataset:
    """A data set of (images, labels) to train on and to test on.

    Images are uint8 (n, h, w) or (n, h, w, 1 or 3); labels are integers (n,), indices into `class_names` (the numbers
    if None). `image_size` in pixels; the height of the first training image if None. Images of another size are cropped
    to a square and resized when they are asked for. `source` is how errors call the arrays' origin (`name` if None).
    Raises DataError naming the array that does not fit: images x_train and x_test, labels y_train and y_test.
    """
    source = source or name
    train_images, train_labels = _part("train", train, source)
    test_images, test_labels = _part("test", test, source)
    if train_images.shape[3] != test_images.shape[3]:
        channels = f"{train_images.shape[3]} and {test_images.shape[3]} channels"
        raise DataError(f"x_train and x_test of {source} have {channels}; save both as grey or both as RGB")
    size = image_size or train_images.shape[1]
    if class_names is None:
        class_names = [str(index) for index in range(1 + int(max(train_labels.max(), test_labels.max())))]
    return Dataset(
        name=name,
        class_names=list(class_names),
        image_size=size,
        channels=train_images.shape[3],
        train=Split(_at_size(train_images, size), train_labels),
        test=Split(_at_size(test_images, size), test_labels),
    )


class ResizedArray:
    """uint8 images (n, h, w, c) in memory, fitted to another size when indexed."""

    def __init__(self, array: Images, size: int) -> None:
        self.array = array
        self.size = size

    def __getitem__(self, index: NDArray[np.int64]) -> Images:
        channels = self.array.shape[3]
        pictures = (Image.fromarray(image.squeeze(2) if channels == 1 else image) for image in self.array[index])
        return np.stack([fit_image(picture, self.size, channels) for picture in pictures])


def _part(part: str, arrays: Part, source: str) -> tuple[Images, NDArray[np.int64]]:
    """One split's arrays, checked: uint8 (n, h, w, c) and int64 (n,)."""
    images, labels = _images(arrays[0], f"x_{part} of {source}"), arrays[1]
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
        raise DataError(
            f"y_{part} of {source} must be {len(images)} integers from 0, not {labels.dtype} {labels.shape}"
        )
    if labels.max() >= MAX_CLASSES:
        raise DataError(f"y_{part} of {source} has label {labels.max()}: at most {MAX_CLASSES - 1} is read")
    return images, labels.astype(np.int64)


def _images(array: Array, label: str) -> Images:
    if array.ndim == 3:
        array = array[..., None]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in array.shape:
        raise DataError(f"{label} must be uint8 (n, h, w) or (n, h, w, 1 or 3), not {array.dtype} {array.shape}")
    return array


def _at_size(images: Images, size: int) -> ImageArray:
    return images if images.shape[1:3] == (size, size) else ResizedArray(images, size)
