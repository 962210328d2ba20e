"""Which images of a folder without splits are held out to test."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ktl.data.class_folders import ClassFiles
from ktl.data.manifest import digest_of
from ktl.errors import DataError

TESTED_BELOW = "4"  # a quarter of all digests begin with a digit from 0 to 3
TEST_SHARE = 0.25

HoldOut = Callable[[ClassFiles], list[ClassFiles]]  # files by class -> those to train on, those to test on

log = logging.getLogger(__name__)


def by_content(classes: ClassFiles, *, to_train: int = 1) -> list[ClassFiles]:
    """To train and to test: about a quarter of each class is tested on, told by the digest of each file alone.

    So an image stays on its side whatever is added, and copies of it lie on the same one. Only where that leaves a
    class without a test image, or with fewer than `to_train` others, those with the next digests change sides.
    Raises DataError for a class of one image.
    """
    train, test = {}, {}
    for name, files in classes.items():
        if len(files) < 2:
            raise DataError(f"class {name!r} has a single image; it needs one to train and one to test")
        held = _held_out(name, files, to_train)
        train[name], test[name] = [file for file in files if file not in held], sorted(held)
    return [train, test]


def by_number(classes: ClassFiles) -> list[ClassFiles]:
    """As ktl held out when its runs did not keep which files they were made of: another quarter for each number."""
    train, test = {}, {}
    for name, files in classes.items():
        shuffled = [files[i] for i in np.random.default_rng(0).permutation(len(files))]
        tested = max(1, round(TEST_SHARE * len(files)))
        train[name], test[name] = sorted(shuffled[tested:]), sorted(shuffled[:tested])
    return [train, test]


def _held_out(name: str, files: list[Path], to_train: int) -> set[Path]:
    digests = {file: digest_of(file) for file in files}
    distinct = sorted(set(digests.values()))
    if len(distinct) == 1:
        log.warning("class %r holds %d copies of one image: it is tested on what it was trained on", name, len(files))
        return {files[0]}
    tested = [digest for digest in distinct if digest < TESTED_BELOW] or distinct[:1]

    def held() -> set[Path]:
        return {file for file, digest in digests.items() if digest in tested}

    while len(tested) > 1 and len(files) - len(held()) < max(to_train, 1):
        tested.pop()
    return held()
