"""Image-vector pairs on the wire: one image file per pair, and float16 vectors."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ktl.errors import DataError, WireError
from ktl.pairs import ImageVectorPairs
from ktl.wire.opening import MAX_PAIR_BYTES, SessionRequest
from ktl.wire.tensors import int64, load_arrays, read_header, save_arrays

PAIRS_HEADER_BYTES = 512  # the safetensors header of pairs is shorter
BYTES_PER_LENGTH_AND_CLASS = 8
WEBP_QUALITY = 80


def encode_pairs(batches: Iterable[ImageVectorPairs], image_format: str, max_bytes: int = MAX_PAIR_BYTES) -> bytes:
    """Pairs with images as WebP (lossy, the default) or PNG (exact) files one after the other, vectors as float16.

    Takes pairs in order while the payload is at most `max_bytes`, and no more batches than that. Raises WireError if
    not even one pair fits.
    """
    files: list[bytes] = []
    vectors: list[Tensor] = []  # without the images: a thousand of 1024 pixels take 3 GB
    classes: list[Tensor] = []
    room = max_bytes - PAIRS_HEADER_BYTES
    for batch in batches:
        encoded = [_encode_image(image, image_format) for image in batch.images]
        per_pair = BYTES_PER_LENGTH_AND_CLASS + 2 * batch.vectors.shape[1]
        spent = np.cumsum([len(file) + per_pair for file in encoded])
        fitting = int((spent <= room).sum())
        files += encoded[:fitting]
        vectors.append(batch.vectors[:fitting].to(torch.float16))
        classes.append(batch.classes[:fitting])
        if fitting < len(batch):
            break
        room -= int(spent[-1]) if fitting else 0
    if not files:
        raise WireError(f"a download of {max_bytes:,} bytes holds no image-vector pair: raise --download-budget")
    lengths = np.array([len(file) for file in files], dtype=np.int32)
    images = b"".join(files)
    files.clear()  # they may take a quarter of a server's memory, and are needed no more
    arrays: dict[str, NDArray[Any]] = {
        "images": np.frombuffer(images, dtype=np.uint8),
        "lengths": lengths,
        "vectors": torch.cat(vectors).numpy(),
        "classes": torch.cat(classes).to(torch.int32).numpy(),
    }
    return save_arrays(arrays, "pairs")


def count_pairs(payload: bytes) -> int:
    """How many pairs `encode_pairs` took; nothing but the header is read."""
    return int(read_header(payload, "pairs")["classes"]["shape"][0])


def decode_pairs(payload: bytes, request: SessionRequest, latent_dim: int) -> ImageVectorPairs:
    """Reads what `encode_pairs` wrote in answer to `request` from a generator with `latent_dim` latents."""
    shapes = {
        "images": ("U8", (None,)),
        "lengths": ("I32", (None,)),
        "vectors": ("F16", (None, latent_dim)),
        "classes": ("I32", (None,)),
    }
    arrays = load_arrays(payload, "pairs", shapes, MAX_PAIR_BYTES)
    lengths = arrays["lengths"].astype(np.int64)
    limit = request.num_classes * request.pairs_per_class
    if len(lengths) > limit:
        raise WireError(f"{len(lengths)} pairs where at most {limit} were asked for")
    if (lengths < 1).any() or int(lengths.sum()) != len(arrays["images"]):
        raise WireError(f"image lengths add up to {int(lengths.sum())}, but {len(arrays['images'])} bytes came")
    pieces = np.split(arrays["images"], lengths.cumsum()[:-1])
    images = [_decode_image(piece.tobytes(), i, request) for i, piece in enumerate(pieces)] if len(lengths) else []
    empty = torch.empty(0, request.channels, request.image_size, request.image_size, dtype=torch.uint8)
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous() if images else empty
    pairs = ImageVectorPairs(stacked, torch.from_numpy(arrays["vectors"]).float(), int64(arrays["classes"]))
    try:
        pairs.validate(request.num_classes)
    except DataError as error:
        raise WireError(str(error)) from error
    return pairs


def _encode_image(image: Tensor, image_format: str) -> bytes:
    pixels = image.permute(1, 2, 0).squeeze(2).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, image_format, quality=WEBP_QUALITY, method=4)
    return file.getvalue()


def _decode_image(file: bytes, index: int, request: SessionRequest) -> NDArray[np.uint8]:
    size = request.image_size
    try:
        with Image.open(io.BytesIO(file), formats=["WEBP", "PNG"]) as image:
            if image.size != (size, size):  # known from the header: nothing is decoded yet
                raise WireError(f"image {index} is {image.size[0]} x {image.size[1]} pixels, not {size} x {size}")
            pixels = np.asarray(image.convert("L" if request.channels == 1 else "RGB"))
    except WireError:
        raise
    except Exception as error:  # Pillow's decoders raise anything, IndexError and struct.error included
        raise WireError(f"image {index} of the pairs cannot be decoded ({error}); download them again") from error
    return pixels.reshape(size, size, request.channels)
