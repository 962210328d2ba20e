"""Files that are the old one or the new one after a crash, and rows of figures in them. Nothing here imports torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ktl.errors import CheckpointError
from ktl.file_kinds import BEGINNING, ZIP, kind_of_file

Row = dict[str, Any]


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces the file `path` by `content`, as a whole or not at all, and waits until it is on the disk.

    Raises CheckpointError when the disk is full or the folder cannot be written; the old file is untouched.
    """

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    replace_atomically(path, write)


def replace_atomically(path: Path, write: Callable[[Path], object], *, lasting: bool = True) -> None:
    """Lets `write` make a file under a temporary name, flushes it to the disk, and gives it the name `path`.

    Without `lasting` it is for a cache: the file is not flushed, so a crash may lose it, and several processes may
    write it at the same time. Raises CheckpointError when it cannot be written; an old file `path` is untouched.
    """
    # one name, so that a killed process leaves at most one; where several processes write, a name for each writing
    temporary = path.with_name(f".{path.name}{'' if lasting else f'.{os.urandom(8).hex()}'}.tmp")
    try:
        write(temporary)
        if lasting:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        fix = "what it held before is intact: free space or choose another folder, and try again"
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}; {fix}") from error


def write_secret(path: Path, text: str) -> None:
    """Writes a file that its owner alone can read, atomically. Raises CheckpointError when it cannot be written."""

    def write(temporary: Path) -> None:
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)

    replace_atomically(path, write)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically. Raises CheckpointError when it cannot be written."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes one JSON object per line, atomically. Raises CheckpointError when it cannot be written."""
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def read_rows(path: Path) -> list[Row]:
    """The rows of a file that `write_rows` wrote. Raises CheckpointError for a missing or damaged file."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is missing or damaged ({error}); run it anew") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file of any size, hexadecimal. Raises OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def kind_of(file: Path) -> str | None:
    """`kind_of_file` of a file on disk; None too if it cannot be opened."""
    try:
        with file.open("rb") as opened:
            return kind_of_file(opened.read(BEGINNING))
    except OSError:
        return None


def why_unreadable(file: Path, error: Exception) -> str:
    """One line after "... cannot be read: ": what the file is if it is of a known wrong kind, or the error's own.

    A zip archive says nothing: numpy's .npz files and PyTorch's are archives.
    """
    kind = kind_of(file)
    if kind is not None and kind != ZIP:
        return f"it is {kind}"
    lines = str(error).splitlines() or [""]
    said = lines[:2] if lines[0].endswith(":") else lines[:1]  # PyTorch's, of weights that do not fit, goes on below
    reason = " ".join(" ".join(said).split()) or type(error).__name__
    if "not fully covered" in reason or "MetadataIncompleteBuffer" in reason:  # safetensors of today and of before
        return "it is cut short, as of an unfinished download: get it again"
    return reason
