"""What may be wrong inside a download of image-vector pairs whose envelope is right."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load, save
from support.refusal import refusal

from ktl.wire import SessionRequest, decode_pairs

SIZE, LATENT_DIM = 16, 8
REQUEST = SessionRequest(
    4,
    SIZE,
    3,
    pairs_per_class=1,
    download_bytes=1_000_000,
    alignment="robust",
    image_format="png",
    seed=0,
)


def image_file(mode: str = "RGB", size: tuple[int, int] = (SIZE, SIZE), image_format: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, image_format)
    return file.getvalue()


def payload(files: list[bytes], **changed: NDArray[Any]) -> bytes:
    arrays: dict[str, NDArray[Any]] = {
        "images": np.frombuffer(b"".join(files), np.uint8),
        "lengths": np.array([len(file) for file in files], np.int32),
        "vectors": np.ones((len(files), LATENT_DIM), np.float16),
        "classes": np.zeros(len(files), np.int32),
    }
    return save(arrays | changed, metadata={"ktl": "pairs/1"})


def refused(content: bytes) -> str:
    return refusal(lambda payload: decode_pairs(payload, REQUEST, LATENT_DIM), content)


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_the_pairs_that_the_next_tests_change_are_valid() -> None:
    pairs = decode_pairs(payload([image_file(), image_file()]), REQUEST, LATENT_DIM)
    assert torch.equal(pairs.images, torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8))
    assert torch.equal(pairs.vectors, torch.ones(2, LATENT_DIM))


def test_no_pairs_at_all_keep_their_shape() -> None:
    pairs = decode_pairs(payload([]), REQUEST, LATENT_DIM)
    assert pairs.images.shape == (0, 3, SIZE, SIZE)
    assert pairs.vectors.shape == (0, LATENT_DIM)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"vectors": np.array([[1] * 7 + [np.nan], [1] * 8], np.float16)}, "is not finite"),
        ({"vectors": np.array([[1] * 8, [np.inf] + [1] * 7], np.float16)}, "is not finite"),
        ({"vectors": np.ones((2, LATENT_DIM), np.float32)}, "expected F16, n x 8"),
        ({"vectors": np.ones((2, LATENT_DIM - 1), np.float16)}, "expected F16, n x 8"),
        ({"vectors": np.ones((3, LATENT_DIM), np.float16)}, "vectors (3, 8)"),
        ({"classes": np.array([0, -1], np.int32)}, "class index -1 is outside 0..3"),
        ({"classes": np.array([4, 0], np.int32)}, "class index 4 is outside 0..3"),
        ({"classes": np.zeros(1, np.int32)}, "1 classes"),
        ({"classes": np.zeros(2, np.uint8)}, "expected I32, n"),
        ({"images": np.zeros(0, np.uint8)}, "but 0 bytes came"),
        ({"images": np.zeros((4, 4), np.uint8)}, "expected U8, n"),
        ({"lengths": np.array([1, 1], np.int32)}, "image lengths add up to 2, but"),
        ({"lengths": np.array([2**31 - 1, 2**31 - 1], np.int32)}, "image lengths add up to 4294967294, but"),
    ],
)
def test_wrong_arrays_are_refused(changed: dict[str, NDArray[Any]], reason: str) -> None:
    assert reason in refused(payload([image_file(), image_file()], **changed))


@pytest.mark.parametrize("first", [0, -1])
def test_image_lengths_below_one_are_refused_even_if_the_sum_is_right(first: int) -> None:
    files = [image_file(), image_file()]
    total = sum(map(len, files))
    assert "image lengths" in refused(payload(files, lengths=np.array([first, total - first], np.int32)))


def test_more_pairs_than_were_asked_for_are_refused() -> None:
    assert refused(payload([image_file()] * 5)) == "5 pairs where at most 4 were asked for"


@pytest.mark.parametrize("size", [(SIZE, SIZE + 1), (1, 1), (2 * SIZE, 2 * SIZE)])
@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_an_image_of_another_size_is_refused_by_its_index(size: tuple[int, int], image_format: str) -> None:
    text = refused(payload([image_file(), image_file(size=size, image_format=image_format)]))
    assert text == f"image 1 is {size[0]} x {size[1]} pixels, not 16 x 16"


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(10_000))) + png_chunk(b"IEND", b"")
    text = refused(payload([bomb]))
    assert text.startswith("image 0 ")
    assert "decompression bomb" in text or "50000 x 50000" in text


@pytest.mark.parametrize("image_format", ["JPEG", "BMP", "GIF", "TIFF"])
def test_an_image_of_a_format_outside_the_protocol_is_refused(image_format: str) -> None:
    assert "image 0 of the pairs cannot be decoded" in refused(payload([image_file(image_format=image_format)]))


@pytest.mark.parametrize("name", [b"iCCP", b"IHDR", b"pHYs"])
def test_an_image_with_an_empty_chunk_behind_the_pixels_is_refused(name: bytes) -> None:
    plain = image_file()
    end = plain.index(b"IEND") - 4
    file = plain[:end] + png_chunk(name, b"") + plain[end:]
    assert "image 0 of the pairs cannot be decoded" in refused(payload([file]))


@pytest.mark.parametrize(("mode", "channels"), [("L", 3), ("RGBA", 3), ("P", 3), ("RGB", 1), ("LA", 1)])
def test_an_image_of_another_mode_arrives_with_the_sessions_channels(mode: str, channels: int) -> None:
    request = replace(REQUEST, channels=channels)
    pairs = decode_pairs(payload([image_file(mode)]), request, LATENT_DIM)
    assert torch.equal(pairs.images, torch.zeros(1, channels, SIZE, SIZE, dtype=torch.uint8))


def sheets(*counts: int, **changed: NDArray[Any]) -> bytes:
    """A valid payload of version 2 with sheets of `counts` black images, but for the arrays that are `changed`."""
    count = sum(counts)
    files = [image_file(size=(each * SIZE, SIZE)) for each in counts]
    arrays: dict[str, NDArray[Any]] = {
        "images": np.frombuffer(b"".join(files), np.uint8),
        "lengths": np.array([len(file) for file in files], np.int32),
        "counts": np.array(counts, np.int32),
        "vectors": np.full((count, LATENT_DIM), 100, np.int8),
        "scales": np.full(LATENT_DIM, 0.01, np.float32),
        "classes": np.zeros(count, np.uint16),
    }
    return save(arrays | changed, metadata={"ktl": "pairs/2"})


def test_the_sheets_that_the_next_tests_change_are_valid() -> None:
    pairs = decode_pairs(sheets(1, 3), REQUEST, LATENT_DIM)
    assert torch.equal(pairs.images, torch.zeros(4, 3, SIZE, SIZE, dtype=torch.uint8))
    assert torch.allclose(pairs.vectors, torch.ones(4, LATENT_DIM))
    assert decode_pairs(sheets(), REQUEST, LATENT_DIM).images.shape == (0, 3, SIZE, SIZE)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"counts": np.array([2, 0], np.int32)}, "sheets of 0 to 2 images: expected 1 to 1024"),
        ({"counts": np.array([3, -1], np.int32)}, "sheets of -1 to 3 images: expected 1 to 1024"),
        ({"counts": np.array([1, 1025], np.int32)}, "sheets of 1 to 1025 images: expected 1 to 1024"),
        ({"counts": np.array([1024, 1024], np.int32)}, "2048 pairs where at most 4 were asked for"),
        ({"counts": np.array([1], np.int32)}, "1 counts for 2 sheets of the pairs"),
        ({"counts": np.array([2, 1], np.int32)}, "sheet 0 is 16 x 16 pixels, not 32 x 16"),
        ({"counts": np.array([1, 1], np.int32)}, "sheet 1 is 32 x 16 pixels, not 16 x 16"),
        ({"lengths": np.array([1, 1], np.int32)}, "image lengths add up to 2, but"),
        ({"scales": np.full(LATENT_DIM, np.nan, np.float32)}, "is not finite"),
        ({"scales": np.full(LATENT_DIM, 3e38, np.float32)}, "is not finite"),
        ({"scales": np.ones(LATENT_DIM - 1, np.float32)}, "expected F32, 8"),
        ({"vectors": np.ones((3, LATENT_DIM), np.float16)}, "expected I8, n x 8"),
        ({"vectors": np.ones((2, LATENT_DIM), np.int8)}, "vectors (2, 8), 3 classes"),
        ({"classes": np.zeros(4, np.uint16)}, "4 classes"),
        ({"classes": np.array([0, 4, 0], np.uint16)}, "class index 4 is outside 0..3"),
        ({"classes": np.zeros(3, np.int32)}, "expected U16, n"),
    ],
)
def test_wrong_arrays_of_sheets_are_refused(changed: dict[str, NDArray[Any]], reason: str) -> None:
    assert reason in refused(sheets(1, 2, **changed))


def test_a_sheet_is_not_larger_than_its_images_need() -> None:
    file = image_file(size=(2 * SIZE, 2 * SIZE))
    changed = {"images": np.frombuffer(file, np.uint8), "lengths": np.array([len(file)], np.int32)}
    assert refused(sheets(3, **changed)) == "sheet 0 is 32 x 32 pixels, not 48 x 16"


def test_arrays_of_one_version_are_none_of_the_other() -> None:
    arrays = load(sheets(1))
    assert "pairs hold" in refused(save(arrays, metadata={"ktl": "pairs/1"}))
    text = refused(save(arrays, metadata={"ktl": "pairs/3"}))
    assert text == "wire version '3' is not supported: this ktl speaks versions 1 and 2"
