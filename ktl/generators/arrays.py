"""Arrays in .npy files: reads the noise and classes to draw images from, and writes images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ktl.errors import UsageError
from ktl.files import why_unreadable, write_atomically

MAX_IMAGES = 100_000


def read_noise(path: Path, z_dim: int) -> Tensor:
    """z (n, z_dim) as float32. Raises UsageError if the file is no .npy of that shape, or holds more than numbers."""
    z = _read(path)
    if z.dtype.kind not in "fiu" or z.ndim != 2 or z.shape[1] != z_dim or not 1 <= len(z) <= MAX_IMAGES:
        raise UsageError(f"--z {path} holds {z.dtype} of shape {z.shape}: expected floats of shape (n, {z_dim})")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
        noise = torch.from_numpy(z.astype(np.float32))
    if not noise.isfinite().all():
        raise UsageError(f"--z {path} holds numbers that are not finite in row {_first(~noise.isfinite().all(dim=1))}")
    return noise


def read_classes(path: Path, count: int, classes: int) -> Tensor:
    """Class indices (count,), int64, out of such indices or of one-hot rows (count, classes). Raises UsageError."""
    values = _read(path)
    if values.ndim == 2 and values.shape == (count, classes):
        rows = torch.from_numpy(values.astype(np.float32)) if values.dtype.kind in "fiub" else torch.zeros(1, 1)
        bad = (rows.sum(dim=1) != 1) | (rows.amax(dim=1) != 1) | (rows.amin(dim=1) < 0)
        if bad.any():
            raise UsageError(f"--classes {path} has no one-hot row at row {_first(bad)}")
        return rows.argmax(dim=1)
    if values.dtype.kind not in "iu" or values.shape != (count,):
        raise UsageError(
            f"--classes {path} holds {values.dtype} of shape {values.shape}: expected {count} integers, one for each "
            f"row of --z, or one-hot rows of shape ({count}, {classes})"
        )
    if values.min() < 0 or values.max() >= classes:
        odd = values[(values < 0) | (values >= classes)][0]
        raise UsageError(f"--classes {path} holds the class {odd}: expected 0 to {classes - 1}")
    return torch.from_numpy(values.astype(np.int64))


def write_array(path: Path, images: Tensor) -> None:
    """Writes `images` as they are. Raises CheckpointError if the file cannot be written."""
    content = io.BytesIO()
    np.save(content, images.numpy())
    write_atomically(path, content.getvalue())


def _read(path: Path) -> NDArray[Any]:
    """The array of a .npy file; a pickled one is refused without reading it."""
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file" if missing else why_unreadable(path, error)
        raise UsageError(f"{path} is no .npy file of numbers ({reason}): write one with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{path} is an archive of arrays: give a .npy file of one")
    return array


def _first(bad: Tensor) -> int:
    return int(bad.nonzero()[0, 0])
