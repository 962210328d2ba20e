"""The payloads that travel between edge and cloud: versioned safetensors and JSON, checked before they are decoded.

Nothing is ever unpickled. Every decoder takes bytes from a stranger and either returns something valid or raises
WireError with one line that names what was wrong.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from reprlib import repr as shown  # a stranger's value in an error text stays short
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from ktl.errors import DataError, WireError
from ktl.pairs import ImageVectorPairs
from ktl.prototypes import Prototypes

VERSION = 1
MOST_CLASSES = 1000
MOST_LATENT_DIM = 65_536
MOST_IMAGE_SIZE = 1024  # pixels
MOST_PAIRS_PER_CLASS = 1000
MOST_PROTOTYPE_BYTES = 8 * 2**20
MOST_PAIR_BYTES = 256 * 2**20
MOST_JSON_BYTES = 16 * 2**10
MOST_HEADER_BYTES = 64 * 2**10
PAIRS_HEADER_BYTES = 512  # the safetensors header of pairs is shorter
BYTES_PER_LENGTH_AND_CLASS = 8
WEBP_QUALITY = 80

Message = TypeVar("Message", "SessionRequest", "SessionReply")


@dataclass(frozen=True)
class SessionRequest:
    """What an edge asks of a cloud. `seed` makes the session's ETF, alignment and latents reproducible."""

    num_classes: int
    image_size: int
    channels: int  # 1 or 3
    pairs_per_class: int  # at most, a round
    download_bytes: int  # that a round's pairs may take at most
    alignment: str
    image_format: str  # "webp" or "png"
    seed: int

    def validate(self) -> None:
        """Raises WireError, naming the first value that is out of bounds."""
        _within("num_classes", self.num_classes, 2, MOST_CLASSES)
        _within("image_size", self.image_size, 4, MOST_IMAGE_SIZE)
        _within("pairs_per_class", self.pairs_per_class, 1, MOST_PAIRS_PER_CLASS)
        _within("download_bytes", self.download_bytes, 1, MOST_PAIR_BYTES)
        _within("seed", self.seed, 0, 2**63 - 1)
        _one_of("channels", self.channels, (1, 3))
        _one_of("image_format", self.image_format, ("webp", "png"))


@dataclass(frozen=True)
class SessionReply:
    """What a cloud answers: the shared ETF's seed, and which generator will draw the pairs."""

    etf_seed: int
    latent_dim: int
    generator: str
    licence: str
    fingerprint: str

    def validate(self) -> None:
        """Raises WireError, naming the first value that is out of bounds."""
        _within("etf_seed", self.etf_seed, 0, 2**63 - 1)
        _within("latent_dim", self.latent_dim, 1, MOST_LATENT_DIM)


def encode_message(message: SessionRequest | SessionReply) -> bytes:
    """A session message as versioned JSON."""
    return json.dumps({"version": VERSION} | asdict(message), separators=(",", ":")).encode()


def decode_message(payload: bytes, kind: type[Message]) -> Message:
    """Reads what `encode_message` wrote. Raises WireError for anything else."""
    if len(payload) > MOST_JSON_BYTES:
        raise WireError(f"a session message of {len(payload)} bytes: at most {MOST_JSON_BYTES} are read")
    try:
        values = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a damaged session message ({error}); send it again") from error
    if not isinstance(values, dict):
        raise WireError(f"a session message is {shown(values)}: expected a table; send it again")
    _check_version(values.pop("version", None))
    expected = {field.name: field.type for field in fields(kind)}
    if set(values) != set(expected):
        odd = sorted(set(values) ^ set(expected))
        raise WireError(f"{shown(odd)} missing or unknown in a session message: expected {', '.join(expected)}")
    for name, value in values.items():
        if type(value).__name__ != expected[name]:  # annotations are strings here; bool is no int
            raise WireError(f"{name} is {shown(value)}: expected {expected[name]}")
        if isinstance(value, str) and not value.isprintable():  # it goes to terminals and logs
            raise WireError(f"{name} is {shown(value)}: expected printable text")
    message = kind(**values)
    message.validate()
    return message


def encode_prototypes(prototypes: Prototypes) -> bytes:
    """Prototypes as int8 with a float32 scale a row: a quarter of float32, off by at most 1/254 of a row's maximum."""
    scales = prototypes.vectors.abs().amax(dim=1).clamp_min(1e-12) / 127.0
    quantised = (prototypes.vectors / scales[:, None]).round().to(torch.int8)
    arrays = {
        "vectors": quantised.numpy(),
        "scales": scales.numpy(),
        "classes": prototypes.classes.to(torch.int32).numpy(),
        "counts": prototypes.counts.to(torch.int32).numpy(),
    }
    return _save(arrays, "prototypes")


def decode_prototypes(payload: bytes, num_classes: int) -> Prototypes:
    """Reads what `encode_prototypes` wrote for a session of `num_classes` classes (and as many dimensions)."""
    shapes = {
        "vectors": ("I8", (None, num_classes)),
        "scales": ("F32", (None,)),
        "classes": ("I32", (None,)),
        "counts": ("I32", (None,)),
    }
    arrays = _load(payload, "prototypes", shapes, MOST_PROTOTYPE_BYTES)
    if len(arrays["classes"]) > num_classes:
        raise WireError(f"{len(arrays['classes'])} prototypes in a session of {num_classes} classes")
    if len(arrays["scales"]) != len(arrays["vectors"]):
        raise WireError(f"{len(arrays['scales'])} scales for {len(arrays['vectors'])} prototypes")
    vectors = torch.from_numpy(arrays["vectors"]).float() * torch.from_numpy(arrays["scales"])[:, None]
    prototypes = Prototypes(vectors, _int64(arrays["classes"]), _int64(arrays["counts"]))
    try:
        prototypes.validate(num_classes)
    except DataError as error:
        raise WireError(str(error)) from error
    return prototypes


def encode_pairs(batches: Iterable[ImageVectorPairs], image_format: str, most_bytes: int = MOST_PAIR_BYTES) -> bytes:
    """Pairs with images as WebP (lossy, the default) or PNG (exact) files one after the other, vectors as float16.

    Takes pairs in order while the payload is at most `most_bytes`, and no more batches than that. Raises WireError if
    not even one pair fits.
    """
    files: list[bytes] = []
    vectors: list[Tensor] = []  # without the images: a thousand of 1024 pixels take 3 GB
    classes: list[Tensor] = []
    room = most_bytes - PAIRS_HEADER_BYTES
    for batch in batches:
        encoded = [_encode_image(image, image_format) for image in batch.images]
        per_pair = BYTES_PER_LENGTH_AND_CLASS + 2 * batch.vectors.shape[1]
        spent = np.cumsum([len(file) + per_pair for file in encoded])
        fitting = int((spent <= room).sum())
        files += encoded[:fitting]
        vectors.append(batch.vectors[:fitting])
        classes.append(batch.classes[:fitting])
        if fitting < len(batch):
            break
        room -= int(spent[-1]) if fitting else 0
    if not files:
        raise WireError(f"a download of {most_bytes:,} bytes holds no image-vector pair: raise --download-budget")
    arrays: dict[str, NDArray[Any]] = {
        "images": np.frombuffer(b"".join(files), dtype=np.uint8),
        "lengths": np.array([len(file) for file in files], dtype=np.int32),
        "vectors": torch.cat(vectors).to(torch.float16).numpy(),
        "classes": torch.cat(classes).to(torch.int32).numpy(),
    }
    return _save(arrays, "pairs")


def count_pairs(payload: bytes) -> int:
    """How many pairs `encode_pairs` took; nothing but the header is read."""
    return int(_header(payload, "pairs")["classes"]["shape"][0])


def decode_pairs(payload: bytes, request: SessionRequest, latent_dim: int) -> ImageVectorPairs:
    """Reads what `encode_pairs` wrote in answer to `request` from a generator with `latent_dim` latents."""
    shapes = {
        "images": ("U8", (None,)),
        "lengths": ("I32", (None,)),
        "vectors": ("F16", (None, latent_dim)),
        "classes": ("I32", (None,)),
    }
    arrays = _load(payload, "pairs", shapes, MOST_PAIR_BYTES)
    lengths = arrays["lengths"].astype(np.int64)
    most = request.num_classes * request.pairs_per_class
    if len(lengths) > most:
        raise WireError(f"{len(lengths)} pairs where at most {most} were asked for")
    if (lengths < 1).any() or int(lengths.sum()) != len(arrays["images"]):
        raise WireError(f"image lengths add up to {int(lengths.sum())}, but {len(arrays['images'])} bytes came")
    pieces = np.split(arrays["images"], lengths.cumsum()[:-1])
    images = [_decode_image(piece.tobytes(), i, request) for i, piece in enumerate(pieces)] if len(lengths) else []
    empty = torch.empty(0, request.channels, request.image_size, request.image_size, dtype=torch.uint8)
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous() if images else empty
    pairs = ImageVectorPairs(stacked, torch.from_numpy(arrays["vectors"]).float(), _int64(arrays["classes"]))
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


def _save(arrays: Mapping[str, NDArray[Any]], kind: str) -> bytes:
    # one metadata entry: safetensors writes several in no fixed order, and equal contents should be equal bytes
    return save(dict(arrays), metadata={"ktl": f"{kind}/{VERSION}"})


def _load(
    payload: bytes, kind: str, expected: Mapping[str, tuple[str, tuple[int | None, ...]]], most_bytes: int
) -> dict[str, NDArray[Any]]:
    """Checks size, header, kind, version, names, dtypes and shapes (None: any length), in this order; then decodes."""
    if len(payload) > most_bytes:
        raise WireError(f"{kind} of {len(payload)} bytes: at most {most_bytes} are read")
    header = _header(payload, kind)
    metadata = header.pop("__metadata__", None)
    label = metadata.get("ktl") if isinstance(metadata, dict) else None
    found_kind, _, version = label.partition("/") if isinstance(label, str) else ("", "", "")
    if found_kind != kind:
        raise WireError(f"the payload does not say that it holds {kind}; is it from ktl?")
    _check_version(version)
    if set(header) != set(expected):
        raise WireError(f"{kind} hold {shown(sorted(header))}: expected {sorted(expected)}")
    for name, (dtype, shape) in expected.items():
        found = header[name].get("shape") if isinstance(header[name], dict) else None
        if not isinstance(found, list) or header[name].get("dtype") != dtype or not _fits(found, shape):
            wanted = " x ".join("n" if length is None else str(length) for length in shape)
            raise WireError(f"{name} of the {kind} is {shown(header[name])}: expected {dtype}, {wanted}")
    try:
        return load(payload)
    except (SafetensorError, ValueError) as error:
        raise WireError(f"the {kind} are damaged or cut short ({error}); send them again") from error


def _header(payload: bytes, kind: str) -> dict[str, Any]:
    if len(payload) < 8:
        raise WireError(f"the {kind} are cut short: {len(payload)} bytes; send them again")
    (length,) = struct.unpack("<Q", payload[:8])
    if length > MOST_HEADER_BYTES or 8 + length > len(payload):
        raise WireError(f"the {kind} claim a header of {length} bytes in {len(payload)}; send them again")
    try:
        header = json.loads(payload[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise WireError(f"the header of the {kind} is damaged ({error}); send them again") from error
    if not isinstance(header, dict):
        raise WireError(f"the header of the {kind} is no table; send them again")
    return header


def _fits(found: list[Any], shape: tuple[int | None, ...]) -> bool:
    return len(found) == len(shape) and all(want in (None, have) for have, want in zip(found, shape, strict=True))


def _check_version(version: Any) -> None:
    if str(version) != str(VERSION):
        raise WireError(f"wire version {shown(version)} is not supported: this ktl speaks version {VERSION}")


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise WireError(f"{name} is {shown(value)}: must be between {low} and {high}")


def _one_of(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise WireError(f"{name} is {shown(value)}: choose one of {', '.join(map(str, choices))}")


def _int64(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))
