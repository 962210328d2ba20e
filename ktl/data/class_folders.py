"""Class folders: what each class is called, and its photographs."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from ktl.data.photos import STRAY, LeftOut, look_into, photos_under
from ktl.errors import DataError

ClassFiles = dict[str, list[Path]]  # by class name


def class_files(path: Path, left_out: LeftOut) -> ClassFiles:
    """The photographs of each class folder in `path`, by class name in the order of names; counts all else.

    Folders whose names differ only in how Unicode writes them are one class. Raises DataError where there is no class
    folder, or one without photographs.
    """
    stray, folders = look_into(path, left_out)
    if not folders:
        raise DataError(f"{path} holds no class folder; put each class's images into a folder of its name")
    if stray:
        left_out[STRAY] += len(stray)
    classes: ClassFiles = {}
    for folder in folders:
        inside = LeftOut()
        files = photos_under(folder, inside)
        if not files:
            found = f", only {inside}" if inside else ""
            raise DataError(f"the class folder {folder} holds no image{found}; add some or remove the folder")
        classes.setdefault(class_name(folder.name), []).extend(files)
        left_out.update(inside)
    return {name: classes[name] for name in sorted(classes)}


def class_name(folder_name: str) -> str:
    """What the class of a folder is called: composed Unicode, also where the folder's name is in an old encoding.

    File systems give a name as it was typed or, macOS, decomposed; bytes that are not UTF-8 come as lone surrogates,
    which can be neither printed nor written.
    """
    raw = os.fsencode(folder_name)
    for encoding in ("utf-8", "cp1252"):
        try:
            return unicodedata.normalize("NFC", raw.decode(encoding))
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")
