"""One image file to one uint8 array: every mode read right, everything unreadable named."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pathlib import Path, PurePath
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ktl.data.settings import MIN_SIDE
from ktl.errors import DataError

READERS = (
    *(JpegImageFile, PngImageFile, WebPImageFile, BmpImageFile, GifImageFile),
    *(TiffImageFile, PpmImageFile, Jpeg2KImageFile),
)
with suppress(ImportError):  # AVIF came with Pillow 11.3
    import_module("PIL.AvifImagePlugin")
with suppress(ImportError):  # the plug-in for HEIC, where it is installed
    import_module("pillow_heif").register_heif_opener()
# each imported here, as for one that is missing Pillow imports all of its forty
FORMATS = (*(str(reader.format) for reader in READERS), *({"AVIF", "HEIF"} & Image.OPEN.keys()))
RARE = {  # opened only if they are called so: most have no signature. No EPS, which would start Ghostscript
    **{".ico": "Ico", ".icns": "Icns", ".psd": "Psd", ".tga": "Tga", ".pcx": "Pcx", ".dds": "Dds", ".qoi": "Qoi"},
    **{".sgi": "Sgi", ".ras": "Sun", ".xbm": "Xbm", ".xpm": "Xpm", ".fits": "Fits", ".fit": "Fits"},
}
MAX_PIXELS = 100_000_000  # refused before decoding: a decompression bomb

Images = NDArray[np.uint8]


def read_image(source: Path | IO[bytes], size: int, channels: int, name: str | None = None) -> Images:
    """Reads an image file as uint8 (size, size, channels), resized and centre-cropped.

    EXIF rotation is applied, transparency is laid over white, CMYK, palette and 16-bit files are converted. `channels`
    is 1 (grey) or 3 (RGB). `name` is how errors call a source that is not a path.
    Raises DataError, naming the file, if it cannot be read or has a side under 4 pixels.
    """
    label = name or str(source)
    try:
        with Image.open(source, formats=FORMATS + rare_formats(label)) as image:
            width, height = image.size
            if min(width, height) < MIN_SIDE:
                raise DataError(
                    f"{label} is {width} x {height} pixels: too small to be a picture; remove or replace it"
                )
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{label} is {width} x {height} pixels: over {MAX_PIXELS:,} in all; scale it down first"
                )
            image.load()
            upright = flatten(ImageOps.exif_transpose(image))
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise anything, IndexError and struct.error included
        reason = "no image format that is known" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"cannot read the image {label}: {reason}; remove or replace it") from error
    return fit_image(upright, size, channels)


def rare_formats(name: str) -> tuple[str, ...]:
    """Pillow's name of a further format that a file of this name has, if it is called by one that ktl reads."""
    suffix = PurePath(name).suffix.lower()
    if suffix not in RARE:
        return ()
    import_module(f"PIL.{RARE[suffix]}ImagePlugin")
    return (RARE[suffix].upper(),)


def flatten(image: Image.Image) -> Image.Image:
    """An opaque 8-bit RGB or grey image from any mode that Pillow decodes."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bit(np.asarray(image)))
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _to_8_bit(values: NDArray[np.generic]) -> Images:
    """16-bit integers to 8 bits by their high byte; floats and 32-bit values by their own range."""
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ValueError("a pixel is not finite")
    if np.issubdtype(values.dtype, np.integer) and wide.min() >= 0 and wide.max() <= 65535:
        wide = wide / 257.0
    else:
        wide = (wide - wide.min()) * (255.0 / max(float(np.ptp(wide)), 1e-12))
    eight_bit: Images = wide.round().astype(np.uint8)
    return eight_bit


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
