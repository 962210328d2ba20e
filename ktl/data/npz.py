"""Data sets in one .npz file: x_train, y_train, x_test, y_test and optionally class_names."""

from __future__ import annotations

import zipfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ktl.data.dataset import Dataset
from ktl.data.in_memory import from_arrays
from ktl.errors import DataError
from ktl.files import why_unreadable

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def fashion_mnist(image_size: int | None) -> Dataset:
    """The data set that ships in the package; `image_size` in pixels, its own 28 if None."""
    with as_file(files("ktl.data") / "embedded" / "fashion-mnist.npz") as path:
        return load_bundle(path, image_size)


def load_bundle(path: Path, image_size: int | None) -> Dataset:
    """Reads uint8 images (n, h, w) or (n, h, w, c) and integer labels; the file's own size if `image_size` is None.

    Raises DataError if an array is missing, misshapen or pickled.
    """
    arrays = _read(path)
    return from_arrays(
        path.stem,
        train=(arrays["x_train"], arrays["y_train"]),
        test=(arrays["x_test"], arrays["y_test"]),
        class_names=_names(arrays, path),
        image_size=image_size,
        source=str(path),
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        reason = why_unreadable(path, zipfile.BadZipFile("it is damaged or cut short"))
        raise DataError(f"{path} is no whole .npz file: {reason}; save it by numpy.savez_compressed")
    try:
        with np.load(path, allow_pickle=False) as bundle:
            arrays = {key: bundle[key] for key in bundle.files if key in (*ARRAYS, "class_names")}
    except Exception as error:  # numpy's and zipfile's readers raise anything, MemoryError and zlib.error included
        raise DataError(f"cannot read {path}: {error}; save it by numpy.savez_compressed without objects") from error
    missing = [key for key in ARRAYS if key not in arrays]
    if missing:
        raise DataError(f"{path} lacks the arrays {', '.join(missing)}; a bundle has {', '.join(ARRAYS)}")
    return arrays


def _names(arrays: dict[str, NDArray[Any]], path: Path) -> list[str] | None:
    if "class_names" not in arrays:
        return None
    names = arrays["class_names"]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"class_names of {path} must be a list of str, not {names.dtype} {names.shape}")
    return [str(name) for name in names]
