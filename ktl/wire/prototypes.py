"""Prototypes on the wire: int8 with a scale per row."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray

from ktl.errors import DataError, WireError
from ktl.protocol import VERSION
from ktl.prototypes import Prototypes
from ktl.wire.tensors import Shapes, int8_rows, int64, load_arrays, save_arrays

MAX_PROTOTYPE_BYTES = 8 * 2**20


def encode_prototypes(prototypes: Prototypes) -> bytes:
    """Prototypes as int8 with a float32 scale per row: off by at most 1/254 of a row's maximum."""
    vectors, scales = int8_rows(prototypes.vectors)
    arrays: dict[str, NDArray[Any]] = {
        "vectors": vectors,
        "scales": scales,
        "classes": prototypes.classes.to(torch.int32).numpy(),
        "counts": prototypes.counts.to(torch.int32).numpy(),
    }
    return save_arrays(arrays, "prototypes")


def decode_prototypes(payload: bytes, num_classes: int) -> Prototypes:
    """Reads what `encode_prototypes` wrote for a session of `num_classes` classes (and as many dimensions, or none)."""
    shapes: Shapes = {
        "vectors": ("I8", (None, None)),
        "scales": ("F32", (None,)),
        "classes": ("I32", (None,)),
        "counts": ("I32", (None,)),
    }
    _, arrays = load_arrays(payload, "prototypes", {VERSION: shapes}, MAX_PROTOTYPE_BYTES)
    if len(arrays["classes"]) > num_classes:
        raise WireError(f"{len(arrays['classes'])} prototypes in a session of {num_classes} classes")
    if arrays["vectors"].shape[1] not in (0, num_classes):
        raise WireError(f"prototypes of {arrays['vectors'].shape[1]} numbers in a session of {num_classes} classes")
    if len(arrays["scales"]) != len(arrays["vectors"]):
        raise WireError(f"{len(arrays['scales'])} scales for {len(arrays['vectors'])} prototypes")
    vectors = torch.from_numpy(arrays["vectors"]).float() * torch.from_numpy(arrays["scales"])[:, None]
    prototypes = Prototypes(vectors, int64(arrays["classes"]), int64(arrays["counts"]))
    try:
        prototypes.validate(num_classes)
    except DataError as error:
        raise WireError(str(error)) from error
    return prototypes
