"""Data sets as folders of pictures: <class>/* with a split drawn by ktl, or train/<class>/* and test/<class>/*."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from ktl.data.class_folders import ClassFiles, class_files
from ktl.data.damaged import without_damaged
from ktl.data.dataset import Dataset, FileImages, Split
from ktl.data.photos import LeftOut, look_into
from ktl.data.split_folders import split_folders
from ktl.errors import DataError

DEFAULT_SIZE = 32  # pixels
TEST_SHARE = 0.25  # of each class, where the folder has no test/ of its own

log = logging.getLogger(__name__)


def load_folder(path: Path, image_size: int | None, channels: int = 3, *, skip_damaged: bool = False) -> Dataset:
    """A folder of class folders; class names are the folders' names, sorted.

    Without folders of splits, a quarter of each class (at least one image) is held out, the same quarter every time.
    Lines are logged that say which splits were taken and what was left out. Raises DataError for an empty or missing
    class folder, naming it, and for unreadable files, naming them all, unless `skip_damaged`.
    """
    size, left_out = image_size or DEFAULT_SIZE, LeftOut()
    splits = split_folders(path, look_into(path, LeftOut())[1])
    if splits is None:
        found = [class_files(path, left_out)]
    else:
        log.warning("%s: %s", path, splits)
        look_into(path, left_out)
        found = [class_files(folder, left_out) for folder in splits.folders]
        for folder, part in zip(splits.folders[1:], found[1:], strict=True):
            _check_same(splits.train, found[0], folder, part)
    left_out.say(path)
    found = without_damaged(found, skip=skip_damaged)
    parts = _hold_out(found[0]) if splits is None else found
    names = sorted(parts[0])
    train, test, *calibration = (_split(part, names, size, channels) for part in parts)
    return Dataset(path.resolve().name, names, size, channels, train, test, *calibration)


def _check_same(train: Path, one: ClassFiles, tested: Path, other: ClassFiles) -> None:
    odd = sorted(one.keys() ^ other.keys())
    if odd:
        where = tested if odd[0] in one else train
        raise DataError(f"class {odd[0]!r} is missing in {where}; all splits need every class")


def _hold_out(classes: ClassFiles) -> list[ClassFiles]:
    train, test = {}, {}
    for name, files in classes.items():
        if len(files) < 2:
            raise DataError(f"class {name!r} has a single image; it needs one to train and one to test")
        shuffled = [files[i] for i in np.random.default_rng(0).permutation(len(files))]
        tested = max(1, round(TEST_SHARE * len(files)))
        train[name], test[name] = sorted(shuffled[tested:]), sorted(shuffled[:tested])
    return [train, test]


def _split(classes: ClassFiles, names: list[str], size: int, channels: int) -> Split:
    files = [file for name in names for file in classes[name]]
    labels = np.repeat(np.arange(len(names)), [len(classes[name]) for name in names]).astype(np.int64)
    return Split(FileImages(files, size, channels), labels)
