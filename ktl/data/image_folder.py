"""Data sets as folders of pictures: train/<class>/* and test/<class>/*, or <class>/* with a split drawn by ktl."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ktl.data.dataset import Dataset, FileImages, Split
from ktl.data.images import EXTENSIONS
from ktl.errors import DataError

DEFAULT_SIZE = 32  # pixels
TEST_SHARE = 0.25  # of each class, where the folder has no test/ of its own


def load_folder(path: Path, image_size: int | None, channels: int = 3) -> Dataset:
    """A folder of class folders; class names are the folders' names, sorted.

    Without train/ and test/, a quarter of each class (at least one image) is held out, the same quarter every time.
    Raises DataError for an empty or missing class folder, naming it.
    """
    size = image_size or DEFAULT_SIZE
    splits = [split for split in ("train", "test") if (path / split).is_dir()]
    if len(splits) == 1:
        other = "test" if splits == ["train"] else "train"
        raise DataError(f"{path} has {splits[0]}/ but no {other}/; add it or put the classes directly into {path}")
    if splits:
        train, test = _class_files(path / "train"), _class_files(path / "test")
        odd = sorted(set(train) ^ set(test))
        if odd:
            where = "test" if odd[0] in train else "train"
            raise DataError(f"class {odd[0]!r} is missing in {path / where}; both splits need every class")
    else:
        train, test = _hold_out(_class_files(path))
    names = sorted(train)
    return Dataset(
        name=path.resolve().name,
        class_names=names,
        image_size=size,
        channels=channels,
        train=_split(train, names, size, channels),
        test=_split(test, names, size, channels),
    )


def _class_files(path: Path) -> dict[str, list[Path]]:
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not folders:
        raise DataError(f"{path} holds no class folder; put each class's images into a folder of its name")
    classes = {}
    for folder in folders:
        classes[folder.name] = sorted(f for f in folder.rglob("*") if f.suffix.lower() in EXTENSIONS)
        if not classes[folder.name]:
            raise DataError(f"the class folder {folder} holds no image; add some or remove the folder")
    return classes


def _hold_out(classes: dict[str, list[Path]]) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    train, test = {}, {}
    for name, files in classes.items():
        if len(files) < 2:
            raise DataError(f"class {name!r} has a single image; it needs one to train and one to test")
        shuffled = [files[i] for i in np.random.default_rng(0).permutation(len(files))]
        tested = max(1, round(TEST_SHARE * len(files)))
        train[name], test[name] = sorted(shuffled[tested:]), sorted(shuffled[:tested])
    return train, test


def _split(classes: dict[str, list[Path]], names: list[str], size: int, channels: int) -> Split:
    files = [file for name in names for file in classes[name]]
    labels = np.repeat(np.arange(len(names)), [len(classes[name]) for name in names]).astype(np.int64)
    return Split(FileImages(files, size, channels), labels)
