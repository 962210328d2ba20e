"""What a run was made of: the digests of its files, or of its arrays, so that no run changes with a folder."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ktl.data.photos import LeftOut, photos_under
from ktl.errors import CheckpointError, DataError
from ktl.files import file_digest, write_json
from ktl.run_folder import CONFIG, DATA

NAMED = 3  # of the files that are not as they were, at most

Digests = dict[str, str]  # SHA-256 of files, by their paths in the data's folder
Files = dict[str, dict[str, Digests]]  # by split (train, test, calibration) and class name, each in order

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """The data of a run, kept in its folder.

    `class_names` in the order of the labels. `files`: those of a folder, to train on, test on and calibrate on;
    `arrays`: of other sources the SHA-256 of all that was read, by what it is for. One of the two is empty.
    """

    class_names: list[str]
    files: Files = field(default_factory=dict)
    arrays: dict[str, str] = field(default_factory=dict)

    def write(self, run: Path) -> None:
        """Puts it into a run's folder. Raises CheckpointError when it cannot be written."""
        write_json(run / DATA, asdict(self))

    def digests(self, splits: Sequence[str]) -> Digests:
        """Of the files of some splits."""
        return {
            path: digest
            for split in splits
            for digests in self.files.get(split, {}).values()
            for path, digest in digests.items()
        }

    def located(self, root: Path, splits: Sequence[str]) -> dict[str, dict[str, list[Path]]]:
        """Where the files of some splits lie now in the folder `root`, by split and class; each is as it was.

        One that was renamed or moved is found by its digest. Lines are logged that say what else is in the folder.
        Raises DataError for files that are changed or gone: how many, and the first few.
        """
        if not root.is_dir():
            raise DataError(f"{root}, the data of this run, is not here: name the folder that holds it now by --data")
        left_out = LeftOut()
        photos, wanted = photos_under(root, left_out), self.digests(splits)
        listed = self.digests(list(self.files))
        found = {path: root / path for path, digest in wanted.items() if digest_or_none(root / path) == digest}
        own = {root / path for path in listed}
        if len(found) < len(wanted):
            here = {photo: digest_or_none(photo) for photo in photos}
            by_digest = {digest: photo for photo, digest in here.items()}
            found = {path: by_digest[digest] for path, digest in wanted.items() if digest in by_digest} | found
            own = {photo for photo, digest in here.items() if digest in set(listed.values())}
        _check_all_found(root, wanted, found)
        left_out.say(root)
        if further := len(set(photos) - own):
            log.warning(
                "%s has %d further file%s that this run does not use", root, further, "s" if further > 1 else ""
            )
        return {
            split: {name: [found[path] for path in digests] for name, digests in self.files.get(split, {}).items()}
            for split in splits
        }

    def check(self, now: Manifest, source: str) -> None:
        """Raises DataError where arrays or class names of `source` are `now` others than the run was made of."""
        changed = [what for what, digest in self.arrays.items() if now.arrays.get(what) != digest]
        if self.class_names != now.class_names:
            changed.append("class names")
        if changed:
            raise DataError(
                f"the {' and '.join(changed)} of {source} are not those that this run was made of: "
                "bring them back, name where they are by --data, or train anew"
            )


def read_manifest(run: Path) -> Manifest | None:
    """What a run keeps of its data; None where there is no run yet, and for one that was made before any kept it.

    A line is logged of the latter. Raises CheckpointError for a damaged file.
    """
    if not (run / CONFIG).is_file():
        return None
    try:
        return msgspec.convert(json.loads((run / DATA).read_text(encoding="utf-8")), Manifest)
    except FileNotFoundError:
        log.warning("%s was made before runs kept what they are made of: its data cannot be checked", run)
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{run / DATA} is damaged ({error}); train the run anew") from error


def arrays_digest(*arrays: NDArray[Any]) -> str:
    """SHA-256 of arrays of any shapes and dtypes, hexadecimal."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def digests_of(root: Path, splits: Mapping[str, Mapping[str, Sequence[Path]]]) -> Files:
    """What a run keeps of files in the folder `root`, by split and class. Raises DataError for an unreadable one."""
    return {
        split: {
            name: {file.relative_to(root).as_posix(): digest_of(file) for file in files} for name, files in of.items()
        }
        for split, of in splits.items()
    }


def digest_of(file: Path) -> str:
    """SHA-256 of a file, hexadecimal; read once, as long as it does not change. Raises DataError if it cannot be."""
    try:
        about = file.stat()
        return _digest(file, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}; make it readable or remove it") from error


def digest_or_none(file: Path) -> str | None:
    """The same; None where there is no such file that can be read."""
    with suppress(DataError):
        return digest_of(file)
    return None


@cache
def _digest(file: Path, size: int, changed: int) -> str:
    return file_digest(file)


def _check_all_found(root: Path, wanted: Digests, found: Mapping[str, Path]) -> None:
    lost = [path for path in wanted if path not in found]
    if lost:
        named = ", ".join(f"{path} ({'changed' if (root / path).is_file() else 'gone'})" for path in lost[:NAMED])
        more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        raise DataError(
            f"{len(lost)} of {len(wanted)} files that this run needs are not in {root} as they were: {named}{more}; "
            "put them back, name a folder that has them by --data, or train anew"
        )
