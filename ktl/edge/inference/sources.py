"""Where pictures to classify come from: files, folders and patterns, or the frames of a video."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from ktl.data.images import EXTENSIONS, Images
from ktl.errors import DataError, UsageError


def picture_files(names: Sequence[str]) -> list[Path]:
    """Files as they are named; of folders (any depth) and patterns the files that look like images, sorted.

    Raises DataError for a folder or pattern without any.
    """
    files: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            pictures = sorted(file for file in path.rglob("*") if _is_picture(file))
            if not pictures:
                raise DataError(f"{path} holds no image ({', '.join(sorted(EXTENSIONS))}); name a folder with some")
        elif glob.has_magic(name) and not path.exists():
            pictures = sorted(Path(match) for match in glob.glob(name, recursive=True) if _is_picture(Path(match)))
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


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in EXTENSIONS and file.is_file()
