"""Where pictures to classify come from: files, folders and patterns, or the frames of a video."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from ktl.data.formats import EXTENSIONS
from ktl.data.images import Images
from ktl.data.photos import HELPER, LeftOut, is_helper, is_photo, photos_under
from ktl.errors import DataError, UsageError


def picture_files(names: Sequence[str]) -> list[Path]:
    """Files as they are named; of folders (any depth) and patterns the photographs, sorted.

    One logged line says what was left out. Raises DataError for a folder or pattern without any photograph.
    """
    files: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            left_out = LeftOut()
            pictures = photos_under(path, left_out)
            left_out.say(path)
            if not pictures:
                raise DataError(f"{path} holds no image ({', '.join(sorted(EXTENSIONS))}); name a folder with some")
        elif glob.has_magic(name) and not path.exists():
            pictures = _matching(name)
            if not pictures:
                raise DataError(f"no image matches {name}")
        else:
            pictures = [path]
        files += pictures
    return files


def frames(video: str, every: int = 1) -> Iterator[tuple[str, Images]]:
    """Every `every`-th frame of a video file, or of a camera by its number: a name and uint8 RGB (height, width, 3).

    Raises UsageError where OpenCV is missing, DataError for a video that cannot be opened.
    """
    try:
        import cv2
    except ImportError as error:
        raise UsageError("--video needs OpenCV: pip install opencv-python-headless") from error
    if not video.isdecimal() and not Path(video).is_file():
        raise DataError(f"there is no video {video}")
    capture = cv2.VideoCapture(int(video) if video.isdecimal() else video)
    if not capture.isOpened():
        raise DataError(f"cannot open the video {video}: no format or camera that OpenCV knows")
    return _frames(video, capture, every)


def _frames(video: str, capture: object, every: int) -> Iterator[tuple[str, Images]]:
    number = 0
    try:
        while capture.grab():  # type: ignore[attr-defined]
            if number % every == 0:
                _, frame = capture.retrieve()  # type: ignore[attr-defined]
                yield f"{video} frame {number}", frame[:, :, ::-1]
            number += 1
    finally:
        capture.release()  # type: ignore[attr-defined]


def _matching(pattern: str) -> list[Path]:
    """The photographs that match; folders that do are not looked into, and a helper must be named as such."""
    left_out, named = LeftOut(), Path(pattern).parts
    pictures = []
    for file in sorted(path for match in glob.glob(pattern, recursive=True) if (path := Path(match)).is_file()):
        within = [part for part in file.parts[:-1] if part not in named]
        if is_helper(file.name, folder=False) or any(is_helper(part, folder=True) for part in within):
            left_out[HELPER] += 1
        elif is_photo(file):
            pictures.append(file)
        else:
            left_out.add(file.name)
    left_out.say(pattern)
    return pictures
