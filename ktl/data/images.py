"""One image file to one uint8 array of the size that a network sees; everything unreadable named."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ktl.data.fitting import squared
from ktl.data.reading import Ranges, read_picture
from ktl.data.settings import Fit
from ktl.errors import DataError

Images = NDArray[np.uint8]


def read_image(
    source: Path | IO[bytes],
    size: int,
    channels: int,
    name: str | None = None,
    ranges: Ranges | None = None,
    fit: Fit = "crop",
) -> Images:
    """Reads an image file as uint8 (size, size, channels), fitted and resized.

    As `ktl.data.reading.read_picture` does, with `ranges` of deep pictures, and `fit_image`. `channels` is 1 (grey) or
    3 (RGB). `name` is how errors call a source that is not a path.
    Raises DataError, naming the file, if it cannot be read or has a side under 4 pixels.
    """
    try:
        picture = read_picture(source, ranges, name)
    except ValueError as error:
        raise DataError(f"cannot read the image {name or source}: {error}; remove or replace it") from error
    return fit_image(picture, size, channels, fit)


def fit_image(image: Image.Image, size: int, channels: int, fit: Fit = "crop") -> Images:
    """Crops, pads or stretches an RGB or grey image to a square of `size`: uint8 (size, size, channels).

    `ktl.edge.onnx.preprocessing` does the same inside an exported model.
    """
    if image.size != (size, size):
        square, filtered = squared(image, fit), Image.Resampling.BICUBIC
        # along rows first, as ONNX Runtime does: Pillow by itself begins where it is quicker, which rounds otherwise
        image = square.resize((size, square.height), filtered).resize((size, size), filtered)
    return np.asarray(image.convert("L" if channels == 1 else "RGB"), dtype=np.uint8).reshape(size, size, channels)
