"""Data sets as folders of pictures: <class>/* with a split drawn by ktl, or train/<class>/* and test/<class>/*."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from ktl.data.class_folders import ClassFiles, class_files
from ktl.data.damaged import without_damaged
from ktl.data.dataset import Dataset, FileImages, Split
from ktl.data.fitting import shorter_side, warn_of_crop
from ktl.data.hold_out import HoldOut, by_content
from ktl.data.manifest import Manifest, digests_of
from ktl.data.photos import LeftOut, look_into
from ktl.data.settings import Fit
from ktl.data.split_folders import split_folders
from ktl.errors import DataError

DEFAULT_SIZE = 32  # pixels
DETAILED = 64  # pixels of photographs that are worth more than DEFAULT_SIZE
SPLITS = ("train", "test", "calibration")

log = logging.getLogger(__name__)


def load_folder(
    path: Path,
    image_size: int | None,
    channels: int = 3,
    *,
    skip_damaged: bool = False,
    fit: Fit = "crop",
    hold_out: HoldOut | None = None,
    photo_size: int | None = None,
) -> Dataset:
    """A folder of class folders; class names are the folders' names, sorted.

    Without an `image_size` images are 32 pixels large or, if given, `photo_size` where the typical photograph has 64.
    Without folders of splits, `hold_out` says which images are tested on, `by_content` if none (`ktl.data.hold_out`).
    Lines are logged that say which splits were taken, what was left out, and of wide pictures how much `fit` "crop"
    leaves. Raises DataError for an empty or missing class folder, naming it, and for unreadable files, naming them all,
    unless `skip_damaged`.
    """
    found = without_damaged(_parts(path), skip=skip_damaged)
    held_out = len(found) == 1
    parts = (hold_out or by_content)(found[0]) if held_out else found
    shown = [file for files in parts[0].values() for file in files]
    if fit == "crop":
        warn_of_crop(path, shown)
    if photo_size and image_size is None and shorter_side(shown) >= DETAILED:
        image_size = photo_size
    return _dataset(path, dict(zip(SPLITS, parts, strict=False)), image_size, channels, fit, held_out)


def load_kept(path: Path, manifest: Manifest, image_size: int | None, channels: int = 3, fit: Fit = "crop") -> Dataset:
    """The files that a run was made of, in the folder where they are now. Raises what `Manifest.located` raises."""
    return _dataset(path, manifest.located(path, list(manifest.files)), image_size, channels, fit, held_out=False)


def files_to_test(path: Path, *, skip_damaged: bool = False) -> ClassFiles:
    """What a model that was made elsewhere is tested on: a folder's test split, or all of one without splits.

    Raises what `load_folder` raises.
    """
    parts = _parts(path)
    (tested,) = without_damaged([parts[min(1, len(parts) - 1)]], skip=skip_damaged)
    return tested


def split_of(classes: ClassFiles, size: int, channels: int = 3, fit: Fit = "crop") -> Split:
    """The images of some classes, class after class; labels in their order. `size` in pixels."""
    files = [file for found in classes.values() for file in found]
    labels = np.repeat(np.arange(len(classes)), [len(found) for found in classes.values()]).astype(np.int64)
    return Split(FileImages(files, size, channels, fit), labels)


def _parts(path: Path) -> list[ClassFiles]:
    """All images, or those to train, to test and, where a folder is for it, to calibrate; says what is left out."""
    left_out = LeftOut()
    splits = split_folders(path, look_into(path, LeftOut())[1])
    if splits is None:
        parts = [class_files(path, left_out)]
    else:
        log.warning("%s: %s", path, splits)
        look_into(path, left_out)
        parts = [class_files(folder, left_out) for folder in splits.folders]
        for folder, part in zip(splits.folders[1:], parts[1:], strict=True):
            _check_same(splits.train, parts[0], folder, part)
    left_out.say(path)
    return parts


def _dataset(
    path: Path, parts: dict[str, ClassFiles], image_size: int | None, channels: int, fit: Fit, held_out: bool
) -> Dataset:
    size = image_size or DEFAULT_SIZE
    splits = {name: split_of(part, size, channels, fit) for name, part in parts.items()}
    return Dataset(
        name=path.resolve().name,
        class_names=list(parts["train"]),
        image_size=size,
        channels=channels,
        train=splits["train"],
        test=splits["test"],
        calibration=splits.get("calibration"),
        held_out=held_out,
        fit=fit,
        files=digests_of(path, parts),
    )


def _check_same(train: Path, one: ClassFiles, tested: Path, other: ClassFiles) -> None:
    odd = sorted(one.keys() ^ other.keys())
    if odd:
        where = tested if odd[0] in one else train
        raise DataError(f"class {odd[0]!r} is missing in {where}; all splits need every class")
