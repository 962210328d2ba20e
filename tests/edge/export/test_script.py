"""The script of a bundle reads pictures by ktl's own definition, whatever their mode, depth, turn and format."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, __version__, features

from ktl.data.reading import Ranges, read_picture
from ktl.edge.export.script import predict_script

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "I", "F"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "PPM": ("1", "L", "RGB", "I;16", "I", "F"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA", "I;16"),
    "AVIF": ("RGB", "RGBA"),
}
TURNED = ("JPEG", "PNG", "TIFF", "WEBP")  # what carries an orientation
PILLOW = int(__version__.partition(".")[0])
LEVELS = (51_600.0, 51_800.0)


def case(kind: str, mode: str, orientation: int) -> Any:
    missing = {"AVIF": not features.check("avif"), "JPEG2000": not features.check("jpg_2000")}.get(kind, False)
    missing |= (kind, mode) == ("TIFF", "YCbCr") and PILLOW < 13  # which cannot read what it wrote
    marks = pytest.mark.skipif(missing, reason=f"this Pillow has no {kind} of {mode}")
    return pytest.param(kind, mode, orientation, marks=marks, id=f"{kind}-{mode}-{orientation}")


CASES = [case(kind, mode, 1) for kind, modes in MODES.items() for mode in modes]
CASES += [case(kind, "RGB" if kind != "PNG" else "I;16", turn) for kind, turn in product(TURNED, range(2, 9))]


@pytest.fixture(scope="module")
def script_read() -> Callable[..., Image.Image]:
    """`read_picture` of the script, in a module without ktl."""
    text = predict_script()
    assert "from ktl" not in text
    assert "import ktl" not in text
    definitions, _, _ = text.partition("FOLDER = ")  # then it looks for the model beside it
    names: dict[str, Any] = {}
    exec(compile(definitions, "predict.py", "exec"), names)
    read: Callable[..., Image.Image] = names["read_picture"]
    assert read is not read_picture
    return read


def picture(mode: str) -> Image.Image:
    """12 x 9 pixels: rising from left to right, deep ones in a band of 200 values."""
    yy, xx = np.mgrid[0:9, 0:12]
    rising: NDArray[np.int64] = 20 * xx + yy
    if mode in ("I", "I;16", "I;16B"):
        values = (51_600 + rising * 200 // 255).astype(np.int32 if mode == "I" else np.uint16)
        image = Image.fromarray(values)
        return image if mode in ("I", "I;16") else image.convert("I").convert("I;16B")
    if mode == "F":
        return Image.fromarray((rising / 255).astype(np.float32))
    colours = np.stack([rising, 20 * yy, np.roll(rising, 3), 255 - 9 * yy], axis=2).astype(np.uint8)
    opaque = Image.fromarray(colours if mode in ("LA", "RGBA") else colours[..., :3])
    if mode == "LAB":
        return Image.frombytes("LAB", opaque.size, opaque.tobytes())
    return opaque.convert(mode)


def saved(kind: str, mode: str, orientation: int) -> bytes:
    content, options = BytesIO(), {}
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    picture(mode).save(content, kind, **options)
    return content.getvalue()


@pytest.mark.parametrize(("kind", "mode", "orientation"), CASES)
def test_the_script_reads_as_ktl_does(
    script_read: Callable[..., Image.Image], kind: str, mode: str, orientation: int
) -> None:
    content = saved(kind, mode, orientation)
    for ranges in (None, {}, {"16-bit": LEVELS, "32-bit": LEVELS, "float": None}):
        known: Ranges | None = ranges
        ours, theirs = read_picture(BytesIO(content), known), script_read(BytesIO(content), known)
        assert ours.size == ((9, 12) if orientation > 4 else (12, 9))
        assert ours.mode == theirs.mode
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))
        assert np.ptp(np.asarray(ours).astype(int)) > 100


def test_the_script_says_what_a_wrong_file_is(script_read: Callable[..., Image.Image]) -> None:
    with pytest.raises(ValueError, match="it is a web page"):
        script_read(BytesIO(b"<html>404</html>"))
    with pytest.raises(ValueError, match="it is cut short"):
        script_read(BytesIO(saved("JPEG", "RGB", 1)[:-200]))
