"""Tensors on the wire: versioned safetensors, checked before they are decoded. Nothing is unpickled."""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Mapping
from reprlib import repr as shortened  # a stranger's value in an error text stays short
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from ktl.errors import WireError
from ktl.protocol import VERSION

MAX_HEADER_BYTES = 64 * 2**10
Shapes = dict[str, tuple[str, tuple[int | None, ...]]]  # dtype and lengths of each array; None: any length


def save_arrays(arrays: Mapping[str, NDArray[Any]], kind: str, version: int = VERSION) -> bytes:
    """safetensors that say what they hold and in which version."""
    # one metadata entry: safetensors writes several in no fixed order, and equal contents should be equal bytes
    return save(dict(arrays), metadata={"ktl": f"{kind}/{version}"})


def load_arrays(
    payload: bytes, kind: str, forms: Mapping[int, Shapes], max_bytes: int
) -> tuple[int, dict[str, NDArray[Any]]]:
    """Checks size, header, kind, version, names, dtypes and shapes, in this order; then decodes.

    `forms`: the arrays of each version that is read. Returns the version, too. Raises WireError, naming what is wrong.
    """
    if len(payload) > max_bytes:
        raise WireError(f"{kind} of {len(payload)} bytes: at most {max_bytes} are read")
    header = read_header(payload, kind)
    metadata = header.pop("__metadata__", None)
    label = metadata.get("ktl") if isinstance(metadata, dict) else None
    found_kind, _, version = label.partition("/") if isinstance(label, str) else ("", "", "")
    if found_kind != kind:
        raise WireError(f"the payload does not say that it holds {kind}; is it from ktl?")
    check_version(version, forms)
    expected = forms[int(version)]
    if set(header) != set(expected):
        raise WireError(f"{kind} hold {shortened(sorted(header))}: expected {sorted(expected)}")
    for name, (dtype, shape) in expected.items():
        actual = header[name].get("shape") if isinstance(header[name], dict) else None
        if not isinstance(actual, list) or header[name].get("dtype") != dtype or not _fits(actual, shape):
            wanted = " x ".join("n" if length is None else str(length) for length in shape)
            raise WireError(f"{name} of the {kind} is {shortened(header[name])}: expected {dtype}, {wanted}")
    try:
        return int(version), load(payload)
    except (SafetensorError, ValueError) as error:
        raise WireError(f"the {kind} are damaged or cut short ({error}); send them again") from error


def read_header(payload: bytes, kind: str, most: int = MAX_HEADER_BYTES) -> dict[str, Any]:
    """What safetensors begin with. Raises WireError if it is cut short, damaged or longer than `most` bytes."""
    if len(payload) < 8:
        raise WireError(f"the {kind} are cut short: {len(payload)} bytes; send them again")
    (length,) = struct.unpack("<Q", payload[:8])
    if length > most or 8 + length > len(payload):
        raise WireError(f"the {kind} claim a header of {length} bytes in {len(payload)}; send them again")
    try:
        header = json.loads(payload[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise WireError(f"the header of the {kind} is damaged ({error}); send them again") from error
    if not isinstance(header, dict):
        raise WireError(f"the header of the {kind} is no table; send them again")
    return header


def _fits(actual: list[Any], shape: tuple[int | None, ...]) -> bool:
    return len(actual) == len(shape) and all(want in (None, have) for have, want in zip(actual, shape, strict=True))


def check_version(version: Any, spoken: Collection[int] = (VERSION,)) -> None:
    """Raises WireError for any but the versions that are `spoken`."""
    if str(version) not in map(str, spoken):
        words = "version" if len(spoken) == 1 else "versions"
        known = " and ".join(map(str, spoken))
        raise WireError(f"wire version {shortened(version)} is not supported: this ktl speaks {words} {known}")


def int8_rows(rows: Tensor) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """float32 (n, d), d may be 0 -> int8 (n, d), and a scale for each row: off by at most 1/254 of its maximum."""
    scales = F.pad(rows.abs(), (0, 1)).amax(dim=1).clamp_min(1e-12) / 127.0
    return (rows / scales[:, None]).round().to(torch.int8).numpy(), scales.numpy()


def int64(array: NDArray[Any]) -> Tensor:
    """A tensor of the same integers."""
    return torch.from_numpy(array.astype(np.int64))
