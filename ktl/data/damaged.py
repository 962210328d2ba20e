"""Files that cannot be read as pictures: found before anything is learnt, all named at once, skipped if asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ktl.data.class_folders import ClassFiles
from ktl.data.images import read_image
from ktl.errors import DataError

READERS = 2  # threads: Pillow decodes outside of Python's lock
ADVICE = "; remove or replace it"

log = logging.getLogger(__name__)


def without_damaged(parts: Sequence[ClassFiles], *, skip: bool) -> list[ClassFiles]:
    """The parts of a data set less the files that cannot be read, which a logged line names.

    Raises DataError that names all of them unless they are to be skipped, and for a class of which nothing is left.
    """
    files = [file for part in parts for found in part.values() for file in found]
    damaged = damaged_files(files)
    if not damaged:
        return list(parts)
    named = "; ".join(damaged.values())
    if not skip:
        raise DataError(
            f"{len(damaged)} of {len(files)} pictures cannot be used: {named}; "
            "remove or replace them, or go on without them by --skip-damaged"
        )
    log.warning("skipped %d of %d pictures: %s", len(damaged), len(files), named)
    whole = [{name: [file for file in found if file not in damaged] for name, found in part.items()} for part in parts]
    for part in whole:
        for name, found in part.items():
            if not found:
                raise DataError(f"every picture of class {name!r} is damaged; add some or remove the class")
    return whole


def damaged_files(files: Sequence[Path]) -> Mapping[Path, str]:
    """What is wrong with each of the files that cannot be read, naming it; each file is decoded once."""
    with ThreadPoolExecutor(READERS) as readers:
        found = zip(files, readers.map(_damage, files), strict=True)
        return {file: damage for file, damage in found if damage is not None}


def _damage(file: Path) -> str | None:
    try:
        read_image(file, size=1, channels=1)
    except DataError as error:
        return str(error).removesuffix(ADVICE)
    return None
