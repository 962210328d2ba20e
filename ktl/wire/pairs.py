"""Image-vector pairs on the wire: contact sheets and int8 vectors, or, for edges that ask for no more, a file an image
and float16.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil, isqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ktl.errors import DataError, WireError
from ktl.pairs import ImageVectorPairs
from ktl.wire.contact_sheets import decode_sheet, encode_sheet, images_per_sheet
from ktl.wire.opening import MAX_PAIR_BYTES, SessionRequest
from ktl.wire.tensors import Shapes, int8_rows, int64, load_arrays, read_header, save_arrays

PAIRS_HEADER_BYTES = 768  # the safetensors header of pairs is shorter
PICTURE_OVERHEAD = 1024  # bytes that a picture file may take beside its uncompressed pixels


@dataclass(frozen=True)
class _Form:
    """One version of the payload: what a picture file is called and holds, and what beside it takes how many bytes."""

    picture: str
    shared: bool  # whether a file holds many images
    quality: int  # of WebP in colour
    per_picture: int  # bytes of lengths and counts
    per_pair: int  # bytes of the class
    per_number: int  # bytes of a vector
    per_direction: int  # bytes of a scale

    def webp_quality(self, channels: int) -> int:
        return self.quality if channels == 3 else GREY_QUALITY

    def images_per_picture(self, size: int) -> int:
        return images_per_sheet(size) if self.shared else 1

    def bytes_beside(self, pairs: int, dimension: int) -> int:
        """Of a file of `pairs` images, beside the file itself."""
        return self.per_picture + pairs * (self.per_pair + self.per_number * dimension)


GREY_QUALITY = 80  # grey takes half the bytes of colour
FORMS = {
    1: _Form("image", False, quality=80, per_picture=4, per_pair=4, per_number=2, per_direction=0),
    # of the same bytes, more images teach more than sharper ones: docs/lab-notes.md
    2: _Form("sheet", True, quality=55, per_picture=8, per_pair=2, per_number=1, per_direction=4),
}
PAIRS_VERSION = max(FORMS)


def most_pairs(request: SessionRequest, dimension: int) -> int:
    """As many as a session's download would hold if images took no bytes."""
    return ceil(request.download_bytes / (FORMS[request.pairs_version].per_number * dimension))


def most_pair_bytes(request: SessionRequest, dimension: int, pairs: int, at_once: int) -> int:
    """Bytes that so many pairs take at most, which come in batches of `at_once`, whatever is on the images."""
    form = FORMS[request.pairs_version]
    per_picture = form.images_per_picture(request.image_size)
    files = min(pairs, ceil(pairs / at_once) * ceil(at_once / per_picture))
    cells = pairs + files * (isqrt(per_picture) - 1)  # a sheet's last row may be blank but for one image
    pixels = request.image_size**2 * request.channels + request.image_size  # PNG says of each row how it is filtered
    beside = files * (form.per_picture + PICTURE_OVERHEAD) + pairs * (form.per_pair + form.per_number * dimension)
    return PAIRS_HEADER_BYTES + form.per_direction * dimension + cells * pixels + beside


def encode_pairs(batches: Iterable[ImageVectorPairs], request: SessionRequest) -> bytes:
    """Pairs in the form that `request` asks for, with images as WebP (lossy) or PNG (exact).

    Takes pairs in order while the payload is at most `request.download_bytes`, and no more batches than that. Raises
    WireError if not even one pair fits.
    """
    form = FORMS[request.pairs_version]
    files: list[bytes] = []
    vectors: list[Tensor] = []  # without the images: a thousand of 1024 pixels take 3 GB
    classes: list[Tensor] = []
    room = request.download_bytes - PAIRS_HEADER_BYTES
    for part in _parts(batches, form.images_per_picture(request.image_size)):
        dimension = part.vectors.shape[1]
        left = room - (0 if files else form.per_direction * dimension)
        file, count = _fitting(part, request, left)
        if count:
            files.append(file)
            vectors.append(part.vectors[:count])
            classes.append(part.classes[:count])
            room = left - len(file) - form.bytes_beside(count, dimension)
        if count < len(part):
            break
    if not files:
        raise WireError(
            f"a download of {request.download_bytes:,} bytes holds no image-vector pair: raise --download-budget"
        )
    return save_arrays(_arrays(files, vectors, classes, request.pairs_version), "pairs", request.pairs_version)


def count_pairs(payload: bytes) -> int:
    """How many pairs `encode_pairs` took; nothing but the header is read."""
    return int(read_header(payload, "pairs")["classes"]["shape"][0])


def decode_pairs(payload: bytes, request: SessionRequest, latent_dim: int) -> ImageVectorPairs:
    """Reads what `encode_pairs` wrote in answer to `request`, in either form, with vectors of `latent_dim` numbers."""
    version, arrays = load_arrays(payload, "pairs", _shapes(latent_dim), MAX_PAIR_BYTES)
    vectors = torch.from_numpy(arrays["vectors"]).float()
    if version > 1:
        vectors = vectors * torch.from_numpy(arrays["scales"])
    pairs = ImageVectorPairs(_decoded(arrays, FORMS[version], request), vectors, int64(arrays["classes"]))
    try:
        pairs.validate(request.num_classes)
    except DataError as error:
        raise WireError(str(error)) from error
    return pairs


def _parts(batches: Iterable[ImageVectorPairs], most: int) -> Iterator[ImageVectorPairs]:
    """The pairs of each picture file."""
    for batch in batches:
        yield from (batch[start : start + most] for start in range(0, len(batch), most))


def _fitting(part: ImageVectorPairs, request: SessionRequest, room: int) -> tuple[bytes, int]:
    """A picture file of as many of the first pairs of `part` as fit into `room` bytes, and their number."""
    form = FORMS[request.pairs_version]
    pixels = part.images.permute(0, 2, 3, 1).numpy()
    best, fitting, trial, above = b"", 0, len(part), len(part) + 1
    while fitting < trial < above:  # by halves, after all of them
        file = encode_sheet(pixels[:trial], request.image_format, form.webp_quality(request.channels))
        if len(file) + form.bytes_beside(trial, part.vectors.shape[1]) <= room:
            best, fitting = file, trial
        else:
            above = trial
        trial = (fitting + above) // 2
    return best, fitting


def _arrays(files: list[bytes], vectors: list[Tensor], classes: list[Tensor], version: int) -> dict[str, NDArray[Any]]:
    """Empties `files`: they may take a quarter of a server's memory, and are needed no more."""
    lengths = np.array([len(file) for file in files], dtype=np.int32)
    images = b"".join(files)
    files.clear()
    arrays: dict[str, NDArray[Any]] = {"images": np.frombuffer(images, dtype=np.uint8), "lengths": lengths}
    if version == 1:
        halves = torch.cat(vectors).to(torch.float16)
        return arrays | {"vectors": halves.numpy(), "classes": torch.cat(classes).to(torch.int32).numpy()}
    directions, scales = int8_rows(torch.cat(vectors).T)  # a scale each: an encoder's last directions are narrow
    return arrays | {
        "counts": np.array([len(part) for part in classes], dtype=np.int32),
        "vectors": np.ascontiguousarray(directions.T),
        "scales": scales,
        "classes": torch.cat(classes).numpy().astype(np.uint16),
    }


def _shapes(latent_dim: int) -> dict[int, Shapes]:
    """Of the arrays, by version."""
    pictures: Shapes = {"images": ("U8", (None,)), "lengths": ("I32", (None,))}
    return {
        1: pictures | {"vectors": ("F16", (None, latent_dim)), "classes": ("I32", (None,))},
        2: pictures
        | {
            "counts": ("I32", (None,)),
            "vectors": ("I8", (None, latent_dim)),
            "scales": ("F32", (latent_dim,)),
            "classes": ("U16", (None,)),
        },
    }


def _decoded(arrays: Mapping[str, NDArray[Any]], form: _Form, request: SessionRequest) -> Tensor:
    """The images, uint8 (n, c, size, size)."""
    size, channels = request.image_size, request.channels
    lengths = arrays["lengths"].astype(np.int64)
    counts = arrays["counts"].astype(np.int64) if form.shared else np.ones_like(lengths)
    if len(counts) != len(lengths):
        raise WireError(f"{len(counts)} counts for {len(lengths)} {form.picture}s of the pairs")
    most, limit = form.images_per_picture(size), request.num_classes * request.pairs_per_class
    if ((counts < 1) | (counts > most)).any():
        raise WireError(f"{form.picture}s of {counts.min()} to {counts.max()} images: expected 1 to {most}")
    if int(counts.sum()) > limit:
        raise WireError(f"{int(counts.sum())} pairs where at most {limit} were asked for")
    if (lengths < 1).any() or int(lengths.sum()) != len(arrays["images"]):
        raise WireError(f"image lengths add up to {int(lengths.sum())}, but {len(arrays['images'])} bytes came")
    files = np.split(arrays["images"], lengths.cumsum()[:-1]) if len(lengths) else []
    images = [np.empty((0, size, size, channels), np.uint8)]
    for i, (file, count) in enumerate(zip(files, counts.tolist(), strict=True)):
        images.append(decode_sheet(file.tobytes(), f"{form.picture} {i}", count, size, channels))
    return torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2).contiguous()
