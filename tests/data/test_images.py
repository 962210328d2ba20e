from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ktl.data.images import fit_image, read_image
from ktl.data.reading import MAX_PIXELS
from ktl.errors import DataError

SIZE = 8
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def noise(channels: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, channels), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> io.BytesIO:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + extra + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + header + body)


def refusal(source: Path | io.BytesIO, name: str | None = None) -> str:
    with pytest.raises(DataError) as refused:
        read_image(source, SIZE, 3, name)
    text = str(refused.value)
    assert (name or str(source)) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("suffix", ["png", "tiff", "bmp", "ppm"])
def test_rgb_pixels_are_read_exactly(tmp_path: Path, suffix: str) -> None:
    pixels = noise(3)
    assert np.array_equal(read_image(saved(tmp_path / f"a.{suffix}", Image.fromarray(pixels)), SIZE, 3), pixels)


def test_grey_pixels_are_read_exactly_and_repeated_for_rgb(tmp_path: Path) -> None:
    pixels = noise(1)
    path = saved(tmp_path / "a.png", Image.fromarray(pixels[..., 0]))
    assert np.array_equal(read_image(path, SIZE, 1), pixels)
    assert np.array_equal(read_image(path, SIZE, 3), pixels.repeat(3, axis=2))


@pytest.mark.parametrize(("colour", "grey"), [(RED, 76), (GREEN, 150), (BLUE, 29), (WHITE, 255)])
def test_colours_become_grey_by_their_luma(tmp_path: Path, colour: tuple[int, int, int], grey: int) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGB", (SIZE, SIZE), colour))
    assert np.abs(read_image(path, SIZE, 1).astype(int) - grey).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "gif", "tiff"])
def test_a_palette_is_looked_up(tmp_path: Path, suffix: str) -> None:
    image = Image.new("P", (SIZE, SIZE), 2)
    image.putpalette([*RED, *GREEN, *BLUE])
    image.paste(1, (0, 0, 4, 8))
    pixels = read_image(saved(tmp_path / f"a.{suffix}", image), SIZE, 3)
    assert (pixels[:, :4] == GREEN).all()
    assert (pixels[:, 4:] == BLUE).all()


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_transparent_palette_colour_is_laid_over_white(tmp_path: Path, suffix: str) -> None:
    image = Image.new("P", (SIZE, SIZE), 0)
    image.putpalette([*RED, *GREEN, *BLUE])
    image.paste(1, (0, 0, 4, 8))
    pixels = read_image(saved(tmp_path / f"a.{suffix}", image, transparency=0), SIZE, 3)
    assert (pixels[:, :4] == GREEN).all()
    assert (pixels[:, 4:] == WHITE).all()


def test_a_half_transparent_palette_colour_is_mixed_with_white(tmp_path: Path) -> None:
    image = Image.new("P", (SIZE, SIZE), 1)
    image.putpalette([*RED, *BLUE])
    pixels = read_image(saved(tmp_path / "a.png", image, transparency=bytes([255, 128])), SIZE, 3)
    assert (pixels == (127, 127, 255)).all()


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_alpha_is_laid_over_white(tmp_path: Path, suffix: str) -> None:
    rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
    rgba[:, :4] = (255, 0, 0, 255)
    rgba[:, 4:] = (0, 0, 0, 51)
    pixels = read_image(saved(tmp_path / f"a.{suffix}", Image.fromarray(rgba)), SIZE, 3)
    assert (pixels[:, :4] == RED).all()
    assert (pixels[:, 4:] == 204).all()


def test_grey_with_alpha_is_laid_over_white(tmp_path: Path) -> None:
    image = Image.new("LA", (SIZE, SIZE), (0, 102))
    assert (read_image(saved(tmp_path / "a.png", image), SIZE, 1) == 153).all()


def test_one_bit_images_are_black_and_white(tmp_path: Path) -> None:
    image = Image.new("1", (SIZE, SIZE), 0)
    image.paste(1, (0, 0, 8, 2))
    pixels = read_image(saved(tmp_path / "a.png", image), SIZE, 3)
    assert (pixels[:2] == 255).all()
    assert (pixels[2:] == 0).all()


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_keeps_its_high_byte(tmp_path: Path, suffix: str) -> None:
    wide = noise(1)[..., 0].astype(np.uint16) * 257
    pixels = read_image(saved(tmp_path / f"a.{suffix}", Image.fromarray(wide)), SIZE, 1)
    assert np.array_equal(pixels[..., 0], wide // 257)


def test_16_bit_colour_keeps_its_high_byte() -> None:
    wide = noise(3).astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    assert np.array_equal(read_image(png(SIZE, SIZE, depth=16, colour=2, rows=rows), SIZE, 3, "a.png"), wide // 257)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_integers_are_scaled_by_their_significant_bits(tmp_path: Path, suffix: str, bits: int) -> None:
    wide = noise(1)[..., 0].astype(np.uint16) << (bits - 8)
    pixels = read_image(saved(tmp_path / f"a.{suffix}", Image.fromarray(wide)), SIZE, 1)
    assert np.abs(pixels[..., 0].astype(int) - (wide >> (bits - 8))).max() <= 1


@pytest.mark.parametrize(("dtype", "scale"), [(np.int32, 1), (np.float32, 1), (np.float32, 1 / 255), (np.int32, 257)])
def test_values_of_32_bits_show_the_pattern_of_8(tmp_path: Path, dtype: type, scale: float) -> None:
    values = (noise(1)[..., 0] * np.float64(scale)).astype(dtype)
    pixels = read_image(saved(tmp_path / "a.tiff", Image.fromarray(values)), SIZE, 1)
    assert np.array_equal(pixels, noise(1))


def test_a_narrow_band_of_16_bits_is_spread(tmp_path: Path) -> None:
    values = (51_600 + noise(1)[..., 0].astype(np.uint16) * 200 // 255).astype(np.uint16)
    pixels = read_image(saved(tmp_path / "a.png", Image.fromarray(values)), SIZE, 1)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert np.abs(pixels.astype(int) - noise(1)).max() <= 8  # its own 0 to 252 became 0 to 255


def test_a_deep_image_of_one_value_keeps_its_brightness(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(np.full((SIZE, SIZE), 257 * 90, np.uint16)))
    assert (read_image(path, SIZE, 1) == 90).all()


def test_floating_point_images_are_spread_over_their_own_range(tmp_path: Path) -> None:
    values = np.linspace(-1.0, 3.0, SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    pixels = read_image(saved(tmp_path / "a.tiff", Image.fromarray(values)), SIZE, 1)[..., 0]
    assert np.array_equal(pixels, ((values.astype(np.float64) + 1.0) * 63.75).round().astype(np.uint8))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pixel_that_is_no_number_is_refused(tmp_path: Path, value: float) -> None:
    values = np.ones((SIZE, SIZE), np.float32)
    values[3, 4] = value
    assert "a pixel is not finite" in refusal(saved(tmp_path / "a.tiff", Image.fromarray(values)))


@pytest.mark.parametrize(
    ("inks", "colour"), [((0, 255, 255, 0), RED), ((255, 0, 255, 0), GREEN), ((0, 0, 0, 255), (0, 0, 0))]
)
def test_printing_colours_become_rgb(
    tmp_path: Path, inks: tuple[int, int, int, int], colour: tuple[int, int, int]
) -> None:
    image = Image.new("CMYK", (SIZE, SIZE), inks)
    assert (read_image(saved(tmp_path / "a.tiff", image), SIZE, 3) == colour).all()
    jpeg = read_image(saved(tmp_path / "a.jpg", image, quality=95), SIZE, 3)
    assert np.abs(jpeg.astype(int) - colour).max() <= 4


@pytest.mark.parametrize(("orientation", "bright"), [(1, "top"), (3, "bottom"), (6, "right"), (8, "left"), (2, "top")])
def test_a_photograph_is_turned_upright(tmp_path: Path, orientation: int, bright: str) -> None:
    image = Image.new("RGB", (16, 16), (0, 0, 0))
    image.paste(WHITE, (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read_image(saved(tmp_path / "a.jpg", image, exif=exif, quality=95), 16, 1)[..., 0]
    halves = {"top": pixels[:8], "bottom": pixels[8:], "left": pixels[:, :8], "right": pixels[:, 8:]}
    opposite = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}[bright]
    assert halves[bright].min() > 240
    assert halves[opposite].max() < 15


def test_a_photograph_whose_exif_cannot_be_written_back_is_turned(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 16), (0, 0, 0))
    image.paste(WHITE, (0, 0, 16, 8))
    plain = saved(tmp_path / "a.jpg", image, quality=95).read_bytes()
    turned = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHII", 0x011A, 10, 1, 38)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + bytes(4) + struct.pack("<ii", -1, 0)
    photograph = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    pixels = read_image(io.BytesIO(photograph), 16, 1, "a.jpg")[..., 0]
    assert pixels[:, 8:].min() > 240
    assert pixels[:, :8].max() < 15


def test_the_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (SIZE, SIZE), colour) for colour in (RED, BLUE)]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert (read_image(path, SIZE, 3) == RED).all()


def test_the_centre_is_kept_when_the_sides_are_cropped() -> None:
    image = Image.new("RGB", (24, 8), RED)
    image.paste(BLUE, (8, 0, 16, 8))
    assert (fit_image(image, SIZE, 3) == BLUE).all()


@pytest.mark.parametrize("side", [4, 8, 100])
def test_an_image_of_one_colour_keeps_it_at_any_size(side: int) -> None:
    assert (fit_image(Image.new("RGB", (side, side), (10, 20, 30)), SIZE, 3) == (10, 20, 30)).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is an empty file"),
        (bytes(100), "as of an unfinished download"),
        (b"<!DOCTYPE html><html>404</html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a Git-LFS pointer"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(100), "pip install pillow-heif"),
        (b"not an image", "no image format that is known"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n", "no image format that is known"),
    ],
    ids=["empty", "zeros", "a web page", "a pointer", "HEIC", "text", "a PostScript program"],
)
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert reason in refusal(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tiff"])
def test_a_file_cut_short_is_named(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(noise(3).repeat(8, axis=0).repeat(8, axis=1)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert refusal(path).endswith("remove or replace it")


@pytest.mark.parametrize(
    "odd",
    [
        chunk(b"iCCP", b""),
        chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2_000_000))),
        chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"tEXt", b"x\0y")[:-4] + bytes(4),
        chunk(b"eXIf", b"II*\0")[:-4] + bytes(4),
    ],
    ids=["an empty profile", "a large profile", "a large text", "a wrong checksum", "a wrong checksum of EXIF"],
)
def test_an_odd_chunk_of_a_png_does_no_harm(odd: bytes) -> None:
    sound = png(SIZE, SIZE, depth=8, colour=0, rows=(b"\0" + bytes([7]) * SIZE) * SIZE, extra=odd)
    assert (read_image(sound, SIZE, 1, "a.png") == 7).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 100), (100, 3)])
def test_an_image_too_small_to_be_a_picture_is_named(tmp_path: Path, size: tuple[int, int]) -> None:
    text = refusal(saved(tmp_path / "a.png", Image.new("RGB", size)))
    assert f"is {size[0]} x {size[1]} pixels: too small to be a picture" in text


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("side", "reason"), [(10_001, f"is 10001 x 10001 pixels: over {MAX_PIXELS:,} in all"), (60_000, "bomb")]
)
def test_a_decompression_bomb_is_refused_by_its_header(side: int, reason: str) -> None:
    assert reason in refusal(png(side, side, depth=8, colour=0, rows=b""), "large.png")
