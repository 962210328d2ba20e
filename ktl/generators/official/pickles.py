"""Reads the network files (.pkl) of the official StyleGAN releases, without running anything that is in them.

Such a file is a pickled table of networks. Every module in it is a record of `torch_utils.persistence`: the source text
of its class, which stays unread here, the class's name and the object's attributes, tensors among them.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from torch import Tensor

from ktl.errors import CheckpointError
from ktl.files import why_unreadable
from ktl.generators.official.pickle_machine import Admitted, Budget, PickleMachine, Record
from ktl.generators.official.pickle_names import ArrayRecord, Claim, Names

MAX_DEPTH = 32  # of modules in modules, and of lists in lists
MAX_VALUES = 200_000  # attributes and their members, numbers of arrays too
MAX_NAME = 256  # characters of a module's, tensor's or attribute's name


@dataclass(frozen=True)
class OfficialNetwork:
    """One network of an official file: what it was made with, its tensors and its modules' plain attributes."""

    class_name: str
    init_args: tuple[Any, ...]
    init_kwargs: dict[str, Any]
    state: dict[str, Tensor]  # parameters and buffers by their dotted names
    attributes: dict[str, dict[str, Any]]  # of every module by its dotted name, what it was made with among them
    classes: dict[str, str]  # of every module by its dotted name; "" is the network

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors by their names."""
        return {name: tuple(tensor.shape) for name, tensor in self.state.items()}


def read_official(path: Path, which: str = "G_ema") -> OfficialNetwork:
    """Reads the network `which` of an official file.

    Numpy arrays become nested lists, data types and devices their names. Raises CheckpointError in one line if the
    file is missing, damaged, of another kind, or holds anything that a StyleGAN does not need.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no network file {path}; give an official StyleGAN .pkl")
    try:
        with path.open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))  # closed with its last view
        return _Reader(len(view)).network(_choose(_read(view), which))
    except (CheckpointError, ValueError, OSError) as error:
        reason = why_unreadable(path, error)
        raise CheckpointError(f"{path} is no official network that ktl can read: {reason}") from error


def _read(view: memoryview) -> Any:
    budget = Budget()
    machine = PickleMachine(view, budget, Names(budget).resolve)
    contents = machine.load()
    if machine.position != len(view):
        raise CheckpointError(f"{len(view) - machine.position:,} bytes follow the pickle's end")
    return contents


def _choose(contents: Any, which: str) -> Record:
    if type(contents) is not dict:
        raise CheckpointError(f"it holds a {type(contents).__name__}: expected a table of networks")
    network = contents.get(which)
    if type(network) is not Record:
        networks = [name for name, value in contents.items() if type(value) is Record]
        raise CheckpointError(f"it holds no network {which!r}: choose one of {shortened(networks)}")
    return network


class _Reader:
    """Turns the records of one file of `file_bytes` bytes into an OfficialNetwork."""

    def __init__(self, file_bytes: int) -> None:
        self._bytes = file_bytes
        self._values = MAX_VALUES
        self._state: dict[str, Tensor] = {}
        self._attributes: dict[str, dict[str, Any]] = {}
        self._classes: dict[str, str] = {}

    def network(self, record: Record) -> OfficialNetwork:
        args = self._plain(record.state.get("_init_args", ()), "_init_args")
        kwargs = self._plain(record.state.get("_init_kwargs", {}), "_init_kwargs")
        if type(args) is not tuple or type(kwargs) is not dict:
            raise CheckpointError("the network's _init_args or _init_kwargs are no tuple or table")
        self._module("", record, 0)
        return OfficialNetwork(record.name, args, kwargs, self._state, self._attributes, self._classes)

    def _module(self, name: str, record: Any, depth: int) -> None:
        self._spend(name, depth)
        if type(record) is not Record:
            raise CheckpointError(f"the module {shortened(name)} is a {type(record).__name__}: expected a module")
        self._classes[name] = record.name
        for kind in ("_parameters", "_buffers"):
            for key, tensor in self._table(name, record, kind):
                if tensor is not None:
                    self._tensor(_join(name, key), tensor)
        own = [(key, value) for key, value in record.state.items() if type(key) is str and not key.startswith("_")]
        made_with = self._table(name, record, "_init_kwargs")
        self._attributes[name] = {key: self._plain(value, _join(name, key)) for key, value in [*made_with, *own]}
        for key, module in self._table(name, record, "_modules"):
            if module is not None:
                self._module(_join(name, key), module, depth + 1)

    def _table(self, name: str, record: Record, kind: str) -> list[tuple[str, Any]]:
        table = record.state.get(kind, {})
        if type(table) is not dict or not all(type(key) is str for key in table):
            raise CheckpointError(f"{kind} of the module {shortened(name)} is {shortened(table)}: expected a table")
        return list(table.items())

    def _tensor(self, name: str, claim: Any) -> None:
        self._spend(name, 0)
        if type(claim) is not Claim:
            raise CheckpointError(f"{shortened(name)} is a {type(claim).__name__}: expected a tensor")
        self._bytes -= claim.nbytes  # a claim made a thousand times over would else fill the memory
        if self._bytes < 0:
            raise CheckpointError("its tensors take more bytes than the file has")
        self._state[name] = claim.tensor()

    def _plain(self, value: Any, name: str, depth: int = 0) -> Any:
        """`value` without anything of the file's own: tables, lists, texts, numbers."""
        self._spend(name, depth)
        if type(value) in (list, tuple):
            return type(value)(self._plain(member, name, depth + 1) for member in value)
        if type(value) is dict:
            return {key: self._plain(member, name, depth + 1) for key, member in value.items()}
        if value is None or type(value) in (bool, int, float, str):
            return value
        if type(value) is ArrayRecord:
            self._spend(name, depth, len(value.data))
            return value.values().tolist()
        if type(value) is Claim:
            self._spend(name, depth, value.nbytes)
            return value.tensor().tolist()
        if isinstance(value, Record):
            return f"an object of {value.name}"
        if isinstance(value, Admitted):
            return f"the function {value.name}"
        raise CheckpointError(f"the attribute {shortened(name)} is a {type(value).__name__}, which is not admitted")

    def _spend(self, name: str, depth: int, values: int = 1) -> None:
        self._values -= values
        if depth > MAX_DEPTH:
            raise CheckpointError(f"{shortened(name)} is nested more than {MAX_DEPTH} deep")
        if self._values < 0:
            raise CheckpointError(f"the network holds more than {MAX_VALUES:,} values")


def _join(prefix: str, name: str) -> str:
    if len(prefix) + len(name) >= MAX_NAME:
        raise CheckpointError(f"the name {shortened(name)} in {shortened(prefix)} is longer than {MAX_NAME} characters")
    return f"{prefix}.{name}" if prefix else name
