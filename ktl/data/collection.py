"""Unlabelled images in a folder or a tar file, read into memory at one size: what a generator is trained on."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from ktl.data.damaged import damaged_files
from ktl.data.formats import EXTENSIONS, HEAD, is_picture
from ktl.data.images import Images, read_image
from ktl.data.photos import HELPER, LeftOut, lies_in_helper, photos_under
from ktl.errors import DataError
from ktl.files import why_unreadable


def read_collection(path: Path, size: int) -> Images:
    """Every image under a folder (any depth) or in a tar file as uint8 (n, size, size, 3), in the order of names.

    A tar file is read in place; nothing is extracted. Raises DataError when there is no image, or one is unreadable.
    """
    left_out = LeftOut()
    images = _from_folder(path, size, left_out) if path.is_dir() else _from_tar(path, size, left_out)
    left_out.say(path)
    if not images:
        raise DataError(f"{path} holds no image ({', '.join(sorted(EXTENSIONS))}); give a folder or tar file with some")
    return np.stack(images)


def _from_folder(path: Path, size: int, left_out: LeftOut) -> list[Images]:
    files = photos_under(path, left_out)
    if damaged := damaged_files(files):
        raise DataError(f"{'; '.join(damaged.values())}; remove or replace what is named")
    return [read_image(file, size, channels=3) for file in files]


def _from_tar(path: Path, size: int, left_out: LeftOut) -> list[Images]:
    images = []
    try:
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.isfile() and _is_photo(tar, member, left_out)]
            _check_end(tar)
            for member in sorted(members, key=lambda m: m.name):
                stream = tar.extractfile(member)
                assert stream is not None  # isfile() above
                images.append(read_image(stream, size, channels=3, name=f"{path}:{member.name}"))
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = why_unreadable(path, error)
        raise DataError(f"{path} is neither a folder nor a whole tar file ({reason}); give one with images") from error
    return images


def _is_photo(tar: tarfile.TarFile, member: tarfile.TarInfo, left_out: LeftOut) -> bool:
    """By the rule of `ktl.data.photos`; what is none is counted."""
    if lies_in_helper(PurePosixPath(member.name)):
        left_out[HELPER] += 1
        return False
    stream = tar.extractfile(member)
    assert stream is not None  # isfile()
    found = is_picture(member.name, stream.read(HEAD))
    if not found:
        left_out.add(member.name)
    return found


def _check_end(tar: tarfile.TarFile) -> None:
    """Raises ReadError unless the archive's end was reached: iteration also stops, silently, at a damaged header."""
    assert tar.fileobj is not None  # it is open
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end is missing")
