"""Folders that hold splits of a data set instead of classes: train, val and test, by any common name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from ktl.data.class_folders import class_name
from ktl.data.photos import LeftOut, look_into
from ktl.errors import DataError

WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
THINGS = "(?:images?|imgs?|photos?|pics?|pictures?|data|set|split|folder|[0-9]{4})?"
NAME = re.compile(rf"{THINGS}[ _.-]*({'|'.join(sorted(WORDS, key=len, reverse=True))})s?[ _.-]*{THINGS}")


@dataclass(frozen=True)
class SplitFolders:
    """`calibration` is a folder `val` beside a `test`, which nothing is tested on; `unused`: what is none of them."""

    train: Path
    test: Path
    calibration: Path | None
    unused: list[Path]

    @property
    def folders(self) -> list[Path]:
        """To train, to test, and to calibrate if there is one."""
        return [self.train, self.test, *([self.calibration] if self.calibration is not None else [])]

    def __str__(self) -> str:
        taken = f"trains on {self.train.name}/, tests on {self.test.name}/"
        if self.calibration is not None:
            taken += f", calibrates on {self.calibration.name}/"
        return taken + "".join(f", does not use {folder.name}/" for folder in self.unused)


def split_folders(root: Path, folders: Sequence[Path]) -> SplitFolders | None:
    """The splits that the `folders` of `root` are, or None where they are classes.

    A class may be called train: folders are splits if nothing else lies beside them, or if train/ holds folders.
    Raises DataError for a split without its other, two of one kind, or folders that look like splits but are not called
    so.
    """
    by_role: dict[str, list[Path]] = {"train": [], "val": [], "test": []}
    others: list[Path] = []
    for folder in folders:
        by_role.get(role_of(folder.name) or "", others).append(folder)
    train, tested = by_role["train"], by_role["test"] or by_role["val"]
    if not (train or tested) or (
        others and not (train and tested and any(look_into(folder, LeftOut())[1] for folder in train))
    ):
        _refuse_unnamed_splits(root, folders)
        return None
    for role, found in by_role.items():
        if len(found) > 1:
            names = " and ".join(f"{folder.name}/" for folder in found)
            raise DataError(f"{root} has {names}, which are both a {role} split: keep one, or merge them")
    if not train or not tested:
        has, lacks = (train[0].name, "test") if train else (tested[0].name, "train")
        raise DataError(f"{root} has {has}/ but no {lacks}/; add it or put the classes directly into {root}")
    calibration = by_role["val"][0] if by_role["test"] and by_role["val"] else None
    return SplitFolders(train[0], tested[0], calibration, others)


def role_of(name: str) -> str | None:
    """train, val or test, if a folder of this name is one by any common name in any case."""
    match = NAME.fullmatch(name.casefold())
    return WORDS[match[1]] if match else None


def _refuse_unnamed_splits(root: Path, folders: Sequence[Path]) -> None:
    inner = {folder: _classes_only(folder) for folder in folders}
    for one, other in combinations(folders, 2):
        common = inner[one] & inner[other]
        if len(common) >= 2 and 2 * len(common) >= len(inner[one] | inner[other]):
            raise DataError(
                f"{root} looks like splits, not classes: {one.name}/ and {other.name}/ both hold "
                f"{', '.join(f'{name}/' for name in sorted(common)[:3])}; call them train and test if they are splits, "
                "or put each class's pictures directly into its folder"
            )


def _classes_only(folder: Path) -> set[str]:
    """The class names of the folders in `folder`, none where pictures lie beside them."""
    photos, folders = look_into(folder, LeftOut())
    return set() if photos else {class_name(inner.name) for inner in folders}
