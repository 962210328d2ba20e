"""The names that an official StyleGAN file may use, and our stand-ins for them: nothing here runs a stranger's code.

A tensor stays a claim about bytes in the file until `Claim.tensor` copies it out, so reading costs next to nothing.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from reprlib import repr as shortened
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ktl.errors import CheckpointError
from ktl.generators.official.pickle_machine import Admitted, Budget, Call, Ignored, PickleMachine, Record

PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
VERSIONS = range(1, 7)  # of torch_utils.persistence: all wrote the same table
DTYPES = {
    f"{name}Storage": dtype
    for name, dtype in {
        "Double": torch.float64,
        "Float": torch.float32,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}
CONSTANTS = {f"torch.{name}" for name in ["contiguous_format", "channels_last", "preserve_format", "strided"]}
CONSTANTS |= {str(dtype) for dtype in DTYPES.values()}
NAMED_ONLY = {"numpy.ndarray"}
# plain classes and functions: an object of theirs keeps its attributes only, and a call does nothing
INERT = ("torch.nn.", "timm.", "torchvision.", "torch_utils.", "dnnlib.", "training.")
MAGIC = 0x1950A86A20F9469CFC6C  # opens the files of torch.save before its zip format
PROTOCOL = 1001
NOTHING = memoryview(b"")
MAX_DIMENSIONS = 8
MAX_NAMES = 1000  # different ones


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers of one type as they lie in the file."""

    data: memoryview
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Claim:
    """A tensor as the file describes it, its bytes not yet read; it is dense and within its storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that the tensor takes in memory."""
        return math.prod(self.size) * self.storage.dtype.itemsize

    def tensor(self) -> Tensor:
        """A contiguous copy, `size`."""
        if not self.nbytes:
            return torch.empty(self.size, dtype=self.storage.dtype)
        first = self.offset * self.storage.dtype.itemsize
        data = bytearray(self.storage.data[first : first + self.nbytes])
        if self.storage.dtype == torch.bool:  # a byte other than 0 and 1 is no bool
            data = bytearray(map(bool, data))
        flat = torch.frombuffer(data, dtype=self.storage.dtype)
        return flat.as_strided(self.size, self.stride).contiguous()


class ArrayRecord:
    """A numpy array or dtype of the file, by its own description."""

    __slots__ = ("data", "dtype", "shape")

    def __init__(self, dtype: str = "") -> None:
        self.dtype = dtype
        self.shape: tuple[int, ...] = ()
        self.data = NOTHING

    def build(self, state: Any) -> None:
        """Takes numpy's state tuples: a dtype's byte order or an array's shape, dtype and bytes."""
        if self.dtype:
            if type(state) is not tuple or state[1] not in ("<", "|", "="):
                raise CheckpointError(f"numpy's type {self.dtype} with state {shortened(state)} is not admitted")
            return
        _, shape, dtype, fortran, data = state
        if type(dtype) is not ArrayRecord or not dtype.dtype or type(data) is not memoryview or fortran:
            raise CheckpointError("a numpy array that is no plain row-major one is not admitted")
        self.shape, self.data = _sizes("a numpy array's shape", shape), data
        if math.prod(self.shape) * np.dtype(dtype.dtype).itemsize != len(data):
            raise CheckpointError(f"a numpy array of shape {shortened(shape)} claims other bytes than its {len(data)}")
        self.dtype = dtype.dtype

    def values(self) -> NDArray[Any]:
        """The array, sharing memory with the file."""
        return np.frombuffer(self.data, dtype=self.dtype or "u1").reshape(self.shape)


class Names:
    """Resolves the names of one file; the pickles inside its tensors share its `budget`."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        calls: dict[str, Call] = {
            PERSISTENT: _persistent_object,
            "torch.storage._load_from_bytes": self._storage,
            "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
            "torch._utils._rebuild_tensor": _rebuild_tensor,
            "torch._utils._rebuild_parameter": lambda data, *_: _claim(data),
            "torch.Size": lambda sizes=(): _sizes("a torch.Size", sizes),
            "torch.device": _device,
            "collections.OrderedDict": _empty_table,
            "dnnlib.util.EasyDict": _empty_table,
            "numpy.dtype": _numpy_dtype,
            "builtins.set": _members,
            "builtins.frozenset": _members,
            "__builtin__.set": _members,  # as protocol 2 names it
            "__builtin__.frozenset": _members,
            "functools.partial": lambda *_: Ignored("functools.partial"),
            "_codecs.encode": _latin,
        }
        for core in ("numpy.core", "numpy._core"):
            calls[f"{core}.multiarray._reconstruct"] = _numpy_array
            calls[f"{core}.multiarray.scalar"] = _numpy_scalar
            calls[f"{core}.numeric._frombuffer"] = _numpy_buffer
        self._admitted = {name: Admitted(name, call) for name, call in calls.items()}
        self._admitted |= {name: Admitted(name, None) for name in NAMED_ONLY}

    def resolve(self, name: str) -> Any:
        """What stands for `name`. Raises CheckpointError for a name that no StyleGAN file needs."""
        if name in CONSTANTS:
            return name
        plain = name.startswith(INERT) and re.fullmatch(r"[\w.]+", name)
        if plain and name not in self._admitted and len(self._admitted) < MAX_NAMES:
            self._admitted[name] = Admitted(name, lambda *_: Record(name))
        if name not in self._admitted:
            raise CheckpointError(f"the file names {shortened(name)}, which is not admitted")
        return self._admitted[name]

    def _storage(self, payload: Any) -> Storage:
        if type(payload) is not memoryview:
            raise CheckpointError("a tensor's storage is no byte string")
        return _read_storage(payload, self._budget)


def _read_storage(payload: memoryview, budget: Budget) -> Storage:
    """Reads one storage in torch.save's old format: five pickles, then a count and that many numbers."""

    def resolve(name: str) -> Any:
        kind = name.removeprefix("torch.")
        if kind not in DTYPES:
            raise CheckpointError(f"a tensor's storage names {shortened(name)}, which is not admitted")
        return DTYPES[kind]

    values: list[Any] = []
    position = 0
    for _ in range(5):
        machine = PickleMachine(payload, budget, resolve, lambda reference: reference, position)
        values.append(machine.load())
        position = machine.position
    magic, protocol, system, reference, _ = values
    if magic != MAGIC or protocol != PROTOCOL or type(system) is not dict or system.get("little_endian") is not True:
        raise CheckpointError("a tensor's storage is not in torch's old little-endian format")
    if type(reference) is not tuple or len(reference) != 6 or reference[0] != "storage" or reference[5] is not None:
        raise CheckpointError(f"a tensor's storage is {shortened(reference)}: expected a plain one")
    dtype, length = reference[1], reference[4]
    data = payload[position + 8 :]
    counted = int.from_bytes(payload[position : position + 8], "little")
    if type(dtype) is not torch.dtype or counted != length or length * dtype.itemsize != len(data):
        raise CheckpointError(f"a tensor's storage claims {shortened(length)} numbers, but {len(data):,} bytes came")
    return Storage(data, dtype)


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Claim:
    """`torch._utils._rebuild_tensor_v2`; what follows the stride concerns training."""
    size, stride = _sizes("a tensor's size", size), _sizes("a tensor's stride", stride)
    (offset,) = _sizes("a tensor's offset", (offset,))
    if type(storage) is not Storage or len(size) != len(stride):
        raise CheckpointError(
            f"a tensor of size {shortened(size)} and stride {shortened(stride)} has no storage that fits"
        )
    numbers = math.prod(size)
    span = 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if numbers else 0
    numbers_stored = len(storage.data) // storage.dtype.itemsize
    if span != numbers or offset + numbers > numbers_stored:
        raise CheckpointError(
            f"a tensor of size {shortened(size)}, stride {shortened(stride)} does not fit its {numbers_stored} numbers"
        )
    return Claim(storage, offset, size, stride)


def _persistent_object(meta: Any) -> Record:
    """An object of `torch_utils.persistence`; its source text is left unread."""
    if type(meta) is not dict or meta.get("type") != "class" or type(meta.get("class_name")) is not str:
        raise CheckpointError(f"a persistent object is {shortened(meta)}: expected a class")
    version = meta.get("version")
    if type(version) is not int or version not in VERSIONS:
        raise CheckpointError(
            f"persistence version {shortened(version)} is not supported: ktl reads {VERSIONS[0]} to {VERSIONS[-1]}"
        )
    record = Record(meta["class_name"])
    record.build(meta.get("state"))
    return record


def _claim(value: Any) -> Claim:
    if type(value) is not Claim:
        raise CheckpointError(f"a parameter is a {type(value).__name__}: expected a tensor")
    return value


def _sizes(what: str, values: Any) -> tuple[int, ...]:
    fits = type(values) is tuple and len(values) <= MAX_DIMENSIONS
    if not fits or not all(type(n) is int and 0 <= n < 2**48 for n in values):
        raise CheckpointError(f"{what} is {shortened(values)}: expected at most {MAX_DIMENSIONS} counts")
    return tuple(values)


def _empty_table(*arguments: Any) -> dict[str, Any]:
    if arguments:
        raise CheckpointError("a table made from other values is not admitted")
    return {}


def _members(values: Any = ()) -> list[Any]:
    if type(values) is not list:
        raise CheckpointError("a set made from other than a list is not admitted")
    return values


def _latin(text: Any, encoding: Any) -> memoryview:
    """Bytes, as the pickler writes them in protocol 2."""
    if type(text) is not str or encoding != "latin1":
        raise CheckpointError(f"text in the encoding {shortened(encoding)} is not admitted: expected latin1")
    return memoryview(text.encode("latin1"))


def _device(kind: Any, _: Any = None) -> str:
    if type(kind) is not str:
        raise CheckpointError(f"a device is {shortened(kind)}: expected text")
    return kind


def _numpy_dtype(code: Any, *_: Any) -> ArrayRecord:
    if type(code) is not str or not re.fullmatch(r"[iu][1248]|f[248]|b1", code):
        raise CheckpointError(f"numpy's type {shortened(code)} is not admitted")
    return ArrayRecord(code)


def _numpy_array(*_: Any) -> ArrayRecord:
    return ArrayRecord()


def _numpy_buffer(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> ArrayRecord:
    array = ArrayRecord()
    array.build((1, shape, dtype, order != "C", data))
    return array


def _numpy_scalar(dtype: Any, data: Any) -> bool | int | float:
    if type(dtype) is not ArrayRecord or type(data) is not memoryview:
        raise CheckpointError("a numpy scalar that is no number is not admitted")
    (value,) = np.frombuffer(data, dtype=dtype.dtype or "u1").tolist()
    return value  # type: ignore[no-any-return]
