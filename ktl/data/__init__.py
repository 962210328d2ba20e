"""Data sets by name or path. Nothing is imported before a data set is opened, so that listing names is quick."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ktl.data.settings import MIN_SIDE, Fit
from ktl.errors import UsageError
from ktl.registry import Registry, is_import_path

if TYPE_CHECKING:
    from ktl.data.dataset import Dataset
    from ktl.data.hold_out import HoldOut

TOLD_APART = "--data %s is the data set that ktl knows by this name; for what lies here write ./%s"

log = logging.getLogger(__name__)

DATASETS = Registry(
    "data set",
    "ktl.datasets",
    {
        "fashion-mnist": (
            "ktl.data.npz:fashion_mnist",
            "10 kinds of clothing, 28 x 28 grey, 40 train + 100 test images each; ships with ktl",
        ),
        "mnist": ("ktl.data.vision:MNIST", "torchvision's MNIST, 28 x 28 grey; downloaded once"),
        "kmnist": ("ktl.data.vision:KMNIST", "torchvision's KMNIST, 28 x 28 grey; downloaded once"),
        "fashion-mnist-70k": (
            "ktl.data.vision:FASHION_MNIST",
            "torchvision's FashionMNIST, 28 x 28 grey; downloaded once",
        ),
        "cifar10": ("ktl.data.vision:CIFAR10", "torchvision's CIFAR10, 32 x 32 RGB; downloaded once"),
        "cifar100": ("ktl.data.vision:CIFAR100", "torchvision's CIFAR100, 32 x 32 RGB; downloaded once"),
        "svhn": ("ktl.data.vision:SVHN", "torchvision's SVHN, 32 x 32 RGB; downloaded once"),
        "flowers102": ("ktl.data.vision:FLOWERS102", "torchvision's Flowers102, 32 x 32 RGB; downloaded once"),
    },
    adapt="ktl.data.plugin:adapted",
)


def load_dataset(
    source: str,
    image_size: int | None = None,
    *,
    skip_damaged: bool = False,
    fit: Fit = "crop",
    hold_out: HoldOut | None = None,
    photo_size: int | None = None,
) -> Dataset:
    """Opens a data set: one of ktl's names, a folder of class folders, an .npz file, a name that an installed package
    registers as an entry point of `ktl.datasets`, or `module:function`.

    `image_size` in pixels; None keeps the data's own (a folder's: 32, or `photo_size` for photographs of 64 or more).
    Unreadable files of a folder are refused, unless `skip_damaged`; its pictures become square by `fit`, and `hold_out`
    says which are tested on where it has no splits (`ktl.data.hold_out`). A file or folder that exists is never taken
    for a package's name or for `module:function`; beside one that is called as ktl's own is, ktl's own is opened, and a
    logged line says so. `ktl.data.plugin` says what a package's function must return.

    Raises UsageError for an unknown source or size or a function that fails, DataError for data that cannot be used.
    """
    if image_size is not None and image_size < MIN_SIDE:
        raise UsageError(f"--image-size is {image_size}: at least {MIN_SIDE} pixels are needed")
    path = Path(source)
    own = source in DATASETS.builtin()
    if own and path.exists():
        log.warning(TOLD_APART, source, source)
    elif path.is_dir():
        from ktl.data.image_folder import load_folder

        return load_folder(
            path, image_size, skip_damaged=skip_damaged, fit=fit, hold_out=hold_out, photo_size=photo_size
        )
    check_fit(source, fit)
    if path.exists() and not own:
        return _from_file(path, image_size)
    if source not in DATASETS.names() and not is_import_path(source):
        raise _unknown(source)
    dataset: Dataset = DATASETS.load(source)(image_size)
    return dataset


def data_name(source: str) -> str:
    """What a run is called by its data: a folder's own name, also where it is given as `.`, or a file's without suffix.

    The folder need not exist. A name that is not UTF-8 is written as a class's is: safetensors cannot open such a path.
    """
    from ktl.data.class_folders import class_name

    path = Path(source)
    return class_name((path.resolve().name or "data") if path.is_dir() else path.stem)


def check_apart(source: str, out: Path) -> None:
    """Raises UsageError where the folder `out` of a run would be taken for data or mixed with it.

    That is where it is the data's own folder or holds pictures of it; a new folder inside is none of the classes.
    """
    if source in DATASETS.builtin() or not Path(source).is_dir() or not out.is_dir():
        return
    from ktl.data.photos import LeftOut, photos_under

    data, run = Path(source).resolve(), out.resolve()
    if run == data or (run.is_relative_to(data) and photos_under(out, LeftOut())):
        raise UsageError(
            f"{out} holds the data itself: name another --out, such as {out / 'run'} or one beside the data"
        )


def check_fit(source: str, fit: Fit) -> None:
    """Raises UsageError for a fit other than "crop" of a source that is no folder of photographs."""
    if fit != "crop":
        raise UsageError(f"--fit {fit} is for folders of photographs, and {source} is none: leave it out")


def _from_file(path: Path, image_size: int | None) -> Dataset:
    if path.suffix == ".npz":
        from ktl.data.npz import load_bundle

        return load_bundle(path, image_size)
    raise _unknown(str(path))


def _unknown(source: str) -> UsageError:
    names = ", ".join(DATASETS.names())
    return UsageError(f"no data set {source!r}: give a folder, an .npz file, or one of {names}, or module:function")
