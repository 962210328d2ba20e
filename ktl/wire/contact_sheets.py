"""Contact sheets: many small images in one picture file, since a file's headers are most of a small picture."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ktl.errors import WireError

SIDE = 512  # pixels that a sheet is wide and high at most, unless one image is larger

Pixels = NDArray[np.uint8]


def images_per_sheet(size: int) -> int:
    """How many images of `size` x `size` pixels a sheet holds at most."""
    return max(SIDE // size, 1) ** 2


def encode_sheet(images: Pixels, image_format: str, quality: int = 80) -> bytes:
    """uint8 images (n, size, size, c) -> one picture with them in rows: WebP by `quality` of 100, or PNG, exact."""
    count, size, _, channels = images.shape
    columns, rows = _layout(count, size)
    blank = np.full((columns * rows - count, *images.shape[1:]), 128, np.uint8)
    cells = np.concatenate([images, blank]).reshape(rows, columns, size, size, channels)
    pixels = cells.transpose(0, 2, 1, 3, 4).reshape(rows * size, columns * size, channels)
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(file, image_format, quality=quality, method=4)
    return file.getvalue()


def decode_sheet(file: bytes, name: str, count: int, size: int, channels: int) -> Pixels:
    """`count` images (count, size, size, channels) of a sheet that an error calls `name`.

    Raises WireError for a file that cannot be decoded, and for one of another width or height before decoding it.
    """
    columns, rows = _layout(count, size)
    width, height = columns * size, rows * size
    try:
        with Image.open(io.BytesIO(file), formats=["WEBP", "PNG"]) as picture:
            if picture.size != (width, height):  # known from the header: nothing is decoded yet
                raise WireError(f"{name} is {picture.size[0]} x {picture.size[1]} pixels, not {width} x {height}")
            pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    except WireError:
        raise
    except Exception as error:  # Pillow's decoders raise anything, IndexError and struct.error included
        raise WireError(f"{name} of the pairs cannot be decoded ({error}); download them again") from error
    cells: Pixels = pixels.reshape(rows, size, columns, size, channels).transpose(0, 2, 1, 3, 4)
    return cells.reshape(-1, size, size, channels)[:count]


def _layout(count: int, size: int) -> tuple[int, int]:
    """Columns and rows of a sheet of `count` images."""
    columns = min(count, max(SIDE // size, 1))
    return columns, -(-count // columns)
