"""Data sets by name or path."""

from __future__ import annotations

from pathlib import Path

from ktl.data.dataset import Dataset
from ktl.data.folder import load_folder
from ktl.data.images import SMALLEST_SIDE
from ktl.data.npz import load_bundle, load_embedded
from ktl.data.vision import SOURCES, load_vision
from ktl.errors import UsageError

EMBEDDED = {"fashion-mnist": "10 kinds of clothing, 28 x 28 grey, 40 train + 100 test images each; ships with ktl"}


def load_dataset(source: str, image_size: int | None = None) -> Dataset:
    """Opens a data set: an embedded name, a torchvision name, an .npz bundle, or a folder of class folders.

    `image_size` in pixels; None keeps the data's own (32 for folders). Raises UsageError for an unknown source
    or size and DataError for data that cannot be used.
    """
    if image_size is not None and image_size < SMALLEST_SIDE:
        raise UsageError(f"--image-size is {image_size}: at least {SMALLEST_SIDE} pixels are needed")
    if source in EMBEDDED:
        return load_embedded(source, image_size)
    if source in SOURCES:
        return load_vision(source, image_size)
    path = Path(source)
    if path.is_dir():
        return load_folder(path, image_size)
    if path.suffix == ".npz" and path.is_file():
        return load_bundle(path, image_size)
    names = ", ".join([*EMBEDDED, *SOURCES])
    raise UsageError(f"no data set {source!r}: give a folder, an .npz file, or one of {names}")
