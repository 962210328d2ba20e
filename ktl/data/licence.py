"""The licence that a collection of images states: the first line of the LICENSE file beside them."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePath, PurePosixPath

NAMES = {"license", "licence", "copying"}  # in lower case, without a suffix or with .txt or .md
MOST_BYTES = 4096  # read of the file
MOST_CHARACTERS = 120


def stated_licence(path: Path) -> str | None:
    """The first line of LICENSE, LICENCE or COPYING in a folder, or at the top of a tar file or of its only folder.

    None if there is no such file or nothing to read in it; what is wrong with `path` itself is for its reader to say.
    """
    try:
        texts = _from_folder(path) if path.is_dir() else _from_tar(path)
        return next((line for text in texts if (line := _first_line(text))), None)
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError):
        return None


def _from_folder(path: Path) -> Iterator[bytes]:
    for file in sorted(path.iterdir()):
        if _is_licence(file) and file.is_file():
            with file.open("rb") as opened:
                yield opened.read(MOST_BYTES)


def _from_tar(path: Path) -> Iterator[bytes]:
    with tarfile.open(path) as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if member.isfile() and len(name.parts) <= 2 and _is_licence(name):
                stream = tar.extractfile(member)
                assert stream is not None  # isfile() above
                yield stream.read(MOST_BYTES)


def _is_licence(file: PurePath) -> bool:
    return file.stem.lower() in NAMES and file.suffix.lower() in ("", ".txt", ".md")


def _first_line(text: bytes) -> str:
    """The first line that says anything, without a heading's marks."""
    lines = (line.strip(" \t#*=-") for line in text.decode(errors="replace").splitlines())
    return next((line[:MOST_CHARACTERS] for line in lines if line and line.isprintable()), "")
