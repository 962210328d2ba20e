"""From a picture of any shape to the square that a network sees: cropped, padded or stretched."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from ktl.data.reading import FORMATS
from ktl.data.settings import Fit

GREY = 128  # of what is padded: nearest to 0 as networks see pixels
SAMPLE = 200  # pictures whose headers are looked at, at most
ENOUGH = 0.65  # of a picture: what cropping leaves of 3 : 2, a camera's widest usual shape
SHARES = {
    "three fifths": 3 / 5,
    "half": 1 / 2,
    "two fifths": 2 / 5,
    "a third": 1 / 3,
    "a quarter": 1 / 4,
    "a fifth": 1 / 5,
}

log = logging.getLogger(__name__)


def squared(image: Image.Image, fit: Fit) -> Image.Image:
    """An RGB or grey image's central square ("crop"), or the whole on a grey square ("pad"), or as it is ("stretch").

    Whoever scales the result to a square stretches what is none.
    """
    width, height = image.size
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return image.crop((left, top, left + side, top + side))
    if fit == "pad":
        side = max(width, height)
        square = Image.new(image.mode, (side, side), "#" + f"{GREY:02x}" * 3)
        square.paste(image, ((side - width) // 2, (side - height) // 2))
        return square
    return image


def warn_of_crop(name: object, files: Sequence[Path]) -> None:
    """Logs a line where the central square is less than two thirds of the typical picture among `files`."""
    share = visible_share(files)
    if share < ENOUGH:
        words = min(SHARES, key=lambda known: abs(SHARES[known] - share))
        log.warning(
            "%s: about %s of each picture is all that is seen, its middle square; --fit pad or stretch sees all",
            name,
            words,
        )


def visible_share(files: Sequence[Path]) -> float:
    """How much of the typical picture cropping leaves, 0..1: the median, by headers; 1 if none can be read."""
    return statistics.median([min(size) / max(size) for size in _sizes(files)] or [1.0])


def shorter_side(files: Sequence[Path]) -> float:
    """Of the typical picture, pixels: the median, by headers; 0 if none can be read."""
    return statistics.median([min(size) for size in _sizes(files)] or [0])


def _sizes(files: Sequence[Path]) -> Iterator[tuple[int, int]]:
    """Width and height of some."""
    for file in files[:: max(1, len(files) // SAMPLE)]:
        with suppress(Exception), Image.open(file, formats=FORMATS) as image:
            yield image.size
