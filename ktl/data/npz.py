"""Data sets in one .npz file: x_train, y_train, x_test, y_test and optionally class_names."""

from __future__ import annotations

import zipfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ktl.data.dataset import Dataset, ImageArray, ResizedArray, Split
from ktl.data.images import Images
from ktl.errors import DataError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
MOST_CLASSES = 1000


def load_embedded(name: str, image_size: int | None) -> Dataset:
    """The data set `name` that ships in the package."""
    with as_file(files("ktl.data") / "embedded" / f"{name}.npz") as path:
        return load_bundle(path, image_size, name=name)


def load_bundle(path: Path, image_size: int | None, name: str | None = None) -> Dataset:
    """Reads uint8 images (n, h, w) or (n, h, w, c) and integer labels; the file's own size if `image_size` is None.

    Raises DataError if an array is missing, misshapen or pickled.
    """
    arrays = _read(path)
    splits = []
    for split in ("train", "test"):
        images = _images(arrays[f"x_{split}"], f"x_{split} of {path}")
        labels = arrays[f"y_{split}"]
        if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
            raise DataError(
                f"y_{split} of {path} must be {len(images)} integers from 0, not {labels.dtype} {labels.shape}"
            )
        if labels.max() >= MOST_CLASSES:
            raise DataError(f"y_{split} of {path} has label {labels.max()}: at most {MOST_CLASSES - 1} is read")
        splits.append((images, labels.astype(np.int64)))
    (train_images, train_labels), (test_images, test_labels) = splits
    if train_images.shape[3] != test_images.shape[3]:
        channels = f"{train_images.shape[3]} and {test_images.shape[3]} channels"
        raise DataError(f"x_train and x_test of {path} have {channels}; save both as grey or both as RGB")
    size = image_size or train_images.shape[1]
    names = _names(arrays, 1 + int(max(train_labels.max(), test_labels.max())), path)
    return Dataset(
        name=name or path.stem,
        class_names=names,
        image_size=size,
        channels=train_images.shape[3],
        train=Split(_at_size(train_images, size), train_labels),
        test=Split(_at_size(test_images, size), test_labels),
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is damaged or no .npz file; save it by numpy.savez_compressed")
    try:
        with np.load(path, allow_pickle=False) as bundle:
            arrays = {key: bundle[key] for key in bundle.files if key in (*ARRAYS, "class_names")}
    except Exception as error:  # numpy's and zipfile's readers raise anything, MemoryError and zlib.error included
        raise DataError(f"cannot read {path}: {error}; save it by numpy.savez_compressed without objects") from error
    missing = [key for key in ARRAYS if key not in arrays]
    if missing:
        raise DataError(f"{path} lacks the arrays {', '.join(missing)}; a bundle has {', '.join(ARRAYS)}")
    return arrays


def _names(arrays: dict[str, NDArray[Any]], count: int, path: Path) -> list[str]:
    if "class_names" not in arrays:
        return [str(index) for index in range(count)]
    names = arrays["class_names"]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"class_names of {path} must be a list of str, not {names.dtype} {names.shape}")
    return [str(name) for name in names]


def _images(array: NDArray[Any], label: str) -> Images:
    if array.ndim == 3:
        array = array[..., None]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in array.shape:
        raise DataError(f"{label} must be uint8 (n, h, w) or (n, h, w, 1 or 3), not {array.dtype} {array.shape}")
    return array


def _at_size(images: Images, size: int) -> ImageArray:
    return images if images.shape[1:3] == (size, size) else ResizedArray(images, size)
