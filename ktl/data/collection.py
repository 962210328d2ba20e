"""Unlabelled images in a folder or a tar file, read into memory at one size: what a generator is trained on."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath

import numpy as np

from ktl.data.images import EXTENSIONS, Images, read_image
from ktl.errors import DataError


def read_collection(path: Path, size: int) -> Images:
    """Every image under a folder (any depth) or in a tar file as uint8 (n, size, size, 3), in the order of names.

    A tar file is read in place; nothing is extracted. Raises DataError when there is no image, or one is unreadable.
    """
    if path.is_dir():
        images = _from_folder(path, size)
    elif path.is_file() and tarfile.is_tarfile(path):
        images = _from_tar(path, size)
    else:
        raise DataError(f"{path} is neither a folder nor a tar file; give one that holds images")
    if not images:
        raise DataError(f"{path} holds no image ({', '.join(sorted(EXTENSIONS))}); give a folder or tar file with some")
    return np.stack(images)


def _from_folder(path: Path, size: int) -> list[Images]:
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in EXTENSIONS)
    return [read_image(file, size, channels=3) for file in files]


def _from_tar(path: Path, size: int) -> list[Images]:
    with tarfile.open(path) as tar:
        members = [m for m in tar if m.isfile() and PurePosixPath(m.name).suffix.lower() in EXTENSIONS]
        images = []
        for member in sorted(members, key=lambda m: m.name):
            stream = tar.extractfile(member)
            assert stream is not None  # isfile() above
            images.append(read_image(stream, size, channels=3, name=f"{path}:{member.name}"))
        return images
