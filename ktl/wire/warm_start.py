"""An extractor's weights on the wire: int8 with a scale per row, and what is no matrix as float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ktl.errors import WireError
from ktl.protocol import VERSION
from ktl.wire.tensors import Shapes, int8_rows, load_arrays, save_arrays

MAX_WARM_START_BYTES = 16 * 2**20
WARM_START_FORMAT = "int8"
SCALES = "/scales"  # after a weight's name
BODY_RATE = "/body_rate"


@dataclass(frozen=True)
class WarmStart:
    """An extractor's floating-point state by name, and its learning rate on few shots, relative to the head's: 0..1."""

    weights: dict[str, Tensor]
    body_rate: float


def encode_warm_start(weights: Mapping[str, Tensor], body_rate: float = 1.0) -> bytes:
    """An extractor's state by name, float32, and its learning rate on few shots, relative to the head's, 0..1.

    A number of a matrix or kernel is off by at most 1/254 of its row's maximum; integers, which only count batches, are
    left out.
    """
    arrays: dict[str, NDArray[Any]] = {BODY_RATE: np.array(body_rate, dtype=np.float32)}
    for name, weight in _floating(weights).items():
        values = weight.detach().float().cpu()
        if values.ndim < 2:
            arrays[name] = values.numpy()
            continue
        rows, arrays[name + SCALES] = int8_rows(values.flatten(1))
        # contiguous: a kernel may lie in memory with its channels last
        arrays[name] = np.ascontiguousarray(rows.reshape(values.shape))
    return save_arrays(arrays, "warm-start")


def decode_warm_start(payload: bytes, like: Mapping[str, Tensor]) -> WarmStart:
    """Reads what `encode_warm_start` wrote of an architecture whose state has the names and shapes of `like`.

    Values of `like` play no part: its tensors may be on the device "meta". The weights are float32, without the
    integers. Raises WireError for anything else.
    """
    shapes: Shapes = {BODY_RATE: ("F32", ())}
    for name, weight in _floating(like).items():
        shapes[name] = ("F32" if weight.ndim < 2 else "I8", tuple(weight.shape))
        if weight.ndim >= 2:
            shapes[name + SCALES] = ("F32", (weight.shape[0],))
    _, arrays = load_arrays(payload, "warm-start", {VERSION: shapes}, MAX_WARM_START_BYTES)
    for name, array in arrays.items():
        if array.dtype == np.float32 and not np.isfinite(array).all():
            raise WireError(f"{name} of the warm-start has a number that is not finite; send it again")
    body_rate = float(arrays[BODY_RATE])
    if not 0 <= body_rate <= 1:
        raise WireError(f"{BODY_RATE} of the warm-start is {body_rate}, not from 0 to 1; send it again")
    return WarmStart({name: _decoded(name, arrays) for name in _floating(like)}, body_rate)


def warm_start_bytes(like: Mapping[str, Tensor]) -> int:
    """How many bytes `encode_warm_start` makes of a state with the names and shapes of `like`."""
    return len(encode_warm_start({name: torch.zeros(weight.shape) for name, weight in _floating(like).items()}))


def _decoded(name: str, arrays: Mapping[str, NDArray[Any]]) -> Tensor:
    weight = torch.from_numpy(arrays[name]).float()
    if name + SCALES not in arrays:
        return weight
    scales = torch.from_numpy(arrays[name + SCALES])
    return (weight.flatten(1) * scales[:, None]).reshape(weight.shape)


def _floating(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight for name, weight in weights.items() if weight.is_floating_point()}
