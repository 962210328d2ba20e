"""The one definition of reading a picture file. A bundle's script has this text too: numpy and Pillow are all it needs.

A deep picture (16-bit, 32-bit or floating point) becomes 8-bit by a range of values: one that was measured on the
images of a training, `Ranges`, or else the picture's own.
"""

from __future__ import annotations

import importlib
import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ktl.file_kinds import BEGINNING, kind_of_file

# no other: EPS would start Ghostscript; each imported here, as for one that is missing Pillow imports all of its forty
_READERS = ("Jpeg", "Png", "WebP", "Bmp", "Gif", "Tiff", "Ppm", "Jpeg2K", "Avif")
for _reader in _READERS:
    with suppress(ImportError):  # AVIF came with Pillow 11.3
        importlib.import_module(f"PIL.{_reader}ImagePlugin")
with suppress(ImportError):  # the plug-in for HEIC, where it is installed
    importlib.import_module("pillow_heif").register_heif_opener()
FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
    if name in Image.OPEN
)
RARE = {  # opened only if a file is called so: most have no signature
    **{".ico": "Ico", ".icns": "Icns", ".psd": "Psd", ".tga": "Tga", ".pcx": "Pcx", ".dds": "Dds", ".qoi": "Qoi"},
    **{".sgi": "Sgi", ".ras": "Sun", ".xbm": "Xbm", ".xpm": "Xpm", ".fits": "Fits", ".fit": "Fits"},
}
MIN_FILE_SIDE = 4  # pixels; a smaller image is a placeholder, not a photograph
MAX_PIXELS = 100_000_000  # refused before decoding: a decompression bomb

ORIENTATION = 0x0112  # of EXIF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PNG = b"\x89PNG\r\n\x1a\n"
PNG_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf"}  # what a picture is made of

FULL_SCALES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)  # of floating point, and of 8 to 16 significant bits
OUTLIERS = 0.001  # of the pixels at either end: dead and hot ones of a camera
NARROW = 64  # of 256 levels: a range of values that would get fewer is spread

Pixels = NDArray[Any]
Ranges = Mapping[str, Sequence[float] | None]  # by depth: the values that become 0 and 255; None: of each picture
# of runs that were made before ranges were kept with a model
EARLIER_RANGES: Ranges = {"16-bit": (0.0, 65535.0), "32-bit": (0.0, 65535.0), "float": None}


def read_picture(source: Path | IO[bytes], ranges: Ranges | None = None, name: str | None = None) -> Image.Image:
    """An image file as an upright, opaque 8-bit picture of mode L or RGB and of its own size.

    `name` is what a source that is not a path is called: a rare format is told by it.

    EXIF rotation is applied, transparency is laid over white, CMYK, palette and deep files are converted.
    Raises ValueError, saying what is wrong, for anything that is no whole picture of 4 pixels a side or more.
    """
    with open_picture(source, name) as image:
        return flatten(upright(image), ranges)


def open_picture(source: Path | IO[bytes], name: str | None = None) -> Image.Image:
    """The image as Pillow decodes it. Raises ValueError as `read_picture` does."""
    beginning = b""
    try:
        content = source.read_bytes() if isinstance(source, Path) else source.read()
        beginning = content[:BEGINNING]
        formats = FORMATS + rare_formats(name or str(source))
        image = Image.open(io.BytesIO(pixels_of_png(content)), formats=formats)
        width, height = image.size
        if min(width, height) < MIN_FILE_SIDE:
            raise ValueError(f"it is {width} x {height} pixels: too small to be a picture")
        if width * height > MAX_PIXELS:
            raise ValueError(f"it is {width} x {height} pixels: over {MAX_PIXELS:,} in all; scale it down")
        image.load()
    except UnidentifiedImageError as error:
        kind = kind_of_file(beginning)
        raise ValueError(f"it is {kind}" if kind else "no image format that is known") from error
    except FileNotFoundError as error:
        raise ValueError("there is no such file") from error
    except Exception as error:  # Pillow's decoders raise anything, IndexError and struct.error included
        raise ValueError(_reason(error)) from error
    return image


def rare_formats(name: str) -> tuple[str, ...]:
    """Pillow's name of a further format that a file of this name has, if it is called by one that ktl reads."""
    suffix = PurePath(name).suffix.lower()
    if suffix not in RARE:
        return ()
    importlib.import_module(f"PIL.{RARE[suffix]}ImagePlugin")
    return (RARE[suffix].upper(),)


def upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says; as it lies where that cannot be read."""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF says nothing of the pixels
        return image
    return image if turn is None else image.transpose(turn)


def flatten(image: Image.Image, ranges: Ranges | None = None) -> Image.Image:
    """An opaque 8-bit RGB or grey image from any mode that Pillow decodes. Raises ValueError for pixels not finite."""
    depth = depth_of(image)
    if depth is not None:
        values = finite_pixels(image)
        whole = values.dtype.kind != "f"
        known = (ranges or {}).get(depth, value_range(values, whole=whole))
        return Image.fromarray(to_8_bit(values, *(known or (float(values.min()), float(values.max())))))
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def depth_of(image: Image.Image) -> str | None:
    """How deep its pixels are: "16-bit", "32-bit" or "float"; None for 8 bits and less."""
    if image.mode == "F":
        return "float"
    if image.mode.startswith("I"):
        return "16-bit" if image.mode.startswith("I;16") else "32-bit"
    return None


def finite_pixels(image: Image.Image) -> Pixels:
    """The values of a deep image (height, width). Raises ValueError if one is not finite."""
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("a pixel is not finite")
    return values


def value_range(values: Pixels, *, whole: bool) -> tuple[float, float]:
    """The values to become 0 and 255, from pixels of any shape: 0 and a full scale of so many bits (or 1.0, 255.0).

    Where the pixels fill less than a quarter of that, or reach beyond any, their own least and greatest, without the
    thousandth at either end that dead and hot pixels of a camera may be.
    """
    low = float(np.quantile(values, OUTLIERS, method="lower"))
    high = float(np.quantile(values, 1 - OUTLIERS, method="higher"))
    scales = [scale for scale in FULL_SCALES[whole:] if high <= scale] if low >= 0 else []
    if scales and (high == low or (high - low) * 256 >= NARROW * scales[0]):
        return 0.0, scales[0]
    return low, high


def to_8_bit(values: Pixels, low: float, high: float) -> NDArray[np.uint8]:
    """Values of any shape as uint8: `low` and less is 0, `high` and more is 255."""
    scaled = (values.astype(np.float64) - low) * (255.0 / max(high - low, 1e-12))
    eight_bit: NDArray[np.uint8] = scaled.round().clip(0, 255).astype(np.uint8)
    return eight_bit


def pixels_of_png(content: bytes) -> bytes:
    """A PNG file without the chunks that say nothing of its pixels: what is wrong with those is no harm.

    Another file as it is.
    """
    if not content.startswith(PNG):
        return content
    kept, at = [PNG], len(PNG)
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        name, end = content[at + 4 : at + 8], at + 12 + length
        sound = name != b"eXIf" or struct.pack(">I", zlib.crc32(content[at + 4 : end - 4])) == content[end - 4 : end]
        if name in PNG_CHUNKS and sound:
            kept.append(content[at:end])
        at = end
    return b"".join(kept)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    short = any(word in text for word in ("truncated", "Truncated", "broken data stream", "unexpected end"))
    return f"it is cut short, as of an unfinished download ({text})" if short else text
