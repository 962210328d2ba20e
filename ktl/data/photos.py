"""Which files of a folder are photographs: one rule for training, predicting, generators and federations.

What is not one is counted, so that nothing vanishes without a word.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path, PurePath

from ktl.data.formats import EXTENSIONS, HEAD, is_picture
from ktl.errors import DataError
from ktl.run_folder import is_run_folder

HELPERS = frozenset(  # of systems and programs, in lower case; those that begin with a dot need no name
    {"@eadir", "@recycle", "#recycle", "$recycle.bin", "__macosx", "__pycache__", "thumbs.db", "ehthumbs.db"}
    | {"desktop.ini", "picasa.ini", "zbthumbnail.info", "icon\r", "lost+found", "system volume information"}
)
HELPER, RUN, STRAY, SPECIAL = NAMED = ("helper file", "run folder", "stray picture", "special file")
CONVERT = "convert to JPEG or PNG"
HINTS = (
    dict.fromkeys((".heic", ".heif", ".hif"), "install pillow-heif")
    | {".avif": "install a newer Pillow"}
    | {STRAY: "in no class folder", SPECIAL: "a link to nowhere or to its own folder, or no plain file"}
    | dict.fromkeys((".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".svg", ".pdf", ".jxl"), CONVERT)
)

log = logging.getLogger(__name__)


class LeftOut(Counter[str]):
    """How many files of each kind are not used."""

    def add(self, name: str) -> None:
        """Counts the file `name` by its suffix."""
        self[PurePath(name).suffix.lower() or "without a suffix"] += 1

    def say(self, where: object) -> None:
        """Logs one line, if anything was left out of `where`: 'left out of photos: 4 .heic (install pillow-heif)'."""
        if self:
            log.warning("left out of %s: %s", where, self)

    def __str__(self) -> str:
        return ", ".join(_counted(count, kind) for kind, count in sorted(self.items()))


def _counted(count: int, kind: str) -> str:
    plural = "s" if kind in NAMED and count > 1 else ""
    return f"{count} {kind}{plural}" + (f" ({HINTS[kind]})" if kind in HINTS else "")


def photos_under(folder: Path, left_out: LeftOut) -> list[Path]:
    """The photographs in a folder at any depth, in the order of paths; all that is not one is counted in `left_out`.

    Raises DataError for a folder that cannot be listed.
    """
    photos, folders = look_into(folder, left_out)
    for inner in folders:
        photos += photos_under(inner, left_out)
    return sorted(photos)


def look_into(folder: Path, left_out: LeftOut) -> tuple[list[Path], list[Path]]:
    """The photographs and the folders that lie in a folder itself, by name; all else is counted in `left_out`.

    Folders that are helpers or hold runs are none of them. Raises DataError for a folder that cannot be listed.
    """
    photos, folders = [], []
    for path in entries(folder):
        is_folder = path.is_dir()
        if is_helper(path.name, folder=is_folder):
            left_out[HELPER] += sum(inner.is_file() for inner in path.rglob("*")) if is_folder else 1
        elif is_folder and holds_runs(path):
            left_out[RUN] += 1
        elif is_folder and not _leads_back(path):
            folders.append(path)
        elif not path.is_file():
            left_out[SPECIAL] += 1
        elif is_photo(path):
            photos.append(path)
        else:
            left_out.add(path.name)
    return photos, folders


def holds_runs(folder: Path) -> bool:
    """Whether a folder is a run's or a bundle's, or holds nothing but such folders, as runs/ does."""
    if is_run_folder(folder):
        return True
    inside = [path for path in entries(folder) if not is_helper(path.name, folder=path.is_dir())]
    inner = [path for path in inside if path.is_dir() and not path.is_symlink()]
    return bool(inner) and all(map(holds_runs, inner)) and not any(path.is_file() and is_photo(path) for path in inside)


def _leads_back(folder: Path) -> bool:
    """Whether it is a link to a folder that it lies in."""
    return folder.is_symlink() and folder.resolve() in {parent.resolve() for parent in folder.parents}


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, in the order of names. Raises DataError if it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot look into the folder {folder}: {error.strerror}; make it readable") from error


def is_photo(file: Path) -> bool:
    """Whether an existing file is a picture that ktl reads, or a damaged one, by its first bytes and its name."""
    try:
        with file.open("rb") as opened:
            return is_picture(file.name, opened.read(HEAD))
    except OSError:
        return file.suffix.lower() in EXTENSIONS  # reading it will say what is wrong


def is_helper(name: str, *, folder: bool) -> bool:
    """Whether a file or folder of this name is some system's or program's own: hidden, a thumbnail, a resource fork.

    A folder that is called like a picture holds thumbnails of it.
    """
    if folder and PurePath(name).suffix.lower() in EXTENSIONS:
        return True
    return name.casefold() in HELPERS or (name.startswith(".") and name not in (".", ".."))


def lies_in_helper(file: PurePath) -> bool:
    """Whether a file is a helper, or in a folder that is one, by its path alone."""
    return is_helper(file.name, folder=False) or any(is_helper(part, folder=True) for part in file.parts[:-1])
