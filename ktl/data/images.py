"""One image file to one uint8 array of the size that a network sees; everything unreadable named."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ktl.data.reading import Ranges, read_picture
from ktl.errors import DataError

Images = NDArray[np.uint8]


def read_image(
    source: Path | IO[bytes], size: int, channels: int, name: str | None = None, ranges: Ranges | None = None
) -> Images:
    """Reads an image file as uint8 (size, size, channels), resized and centre-cropped.

    As `ktl.data.reading.read_picture` does, with `ranges` of deep pictures. `channels` is 1 (grey) or 3 (RGB). `name`
    is how errors call a source that is not a path.
    Raises DataError, naming the file, if it cannot be read or has a side under 4 pixels.
    """
    try:
        picture = read_picture(source, ranges, name)
    except ValueError as error:
        raise DataError(f"cannot read the image {name or source}: {error}; remove or replace it") from error
    return fit_image(picture, size, channels)


def fit_image(image: Image.Image, size: int, channels: int) -> Images:
    """Crops the central square, scales it to `size`, and returns uint8 (size, size, channels).

    Of an RGB or grey image. `ktl.edge.onnx.preprocessing` does the same inside an exported model, to the bit.
    """
    if image.size != (size, size):
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        image = square.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image.convert("L" if channels == 1 else "RGB"), dtype=np.uint8).reshape(size, size, channels)
