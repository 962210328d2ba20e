"""Reads pickles without Python's unpickler: a stack machine of few instructions that calls nothing named in a file.

`pickle.Unpickler` with a guarded `find_class` still lets a stranger allocate gigabytes (a memo index of 2**30, a
counted string of 10 GB) or overflow the C stack (the hash of a deeply nested tuple). This machine knows the
instructions that Python's pickler writes in protocols 2 to 5, takes names only from a table of handlers, hashes only
text and small integers, leaves byte strings where they are in the file, and counts everything that costs memory.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from reprlib import repr as shortened  # a stranger's value in an error text stays short
from typing import Any, ClassVar

from ktl.errors import CheckpointError

MAX_OPERATIONS = 1_000_000  # each makes at most about 130 bytes, texts aside; real files take a tenth
MAX_TEXT_BYTES = 16 * 2**20  # of all texts; a StyleGAN file repeats a few sources of 30 KB by reference
MAX_NAME_BYTES = 512
MAX_ARGUMENTS = 16
MAX_KEY = 2**31
COUNTED_TEXT = {"SHORT_BINUNICODE": "<B", "BINUNICODE": "<I", "BINUNICODE8": "<Q"}
COUNTED_BYTES = {"SHORT_BINBYTES": "<B", "BINBYTES": "<I", "BINBYTES8": "<Q", "BYTEARRAY8": "<Q"}
NUMBERS = {"BININT": "<i", "BININT1": "<B", "BININT2": "<H", "BINFLOAT": ">d", "PROTO": "<B", "FRAME": "<Q"}
INDICES = {"BINPUT": "<B", "LONG_BINPUT": "<I", "BINGET": "<B", "LONG_BINGET": "<I"}
FORMATS = NUMBERS | INDICES
NAMES = {opcode.code: opcode.name for opcode in pickletools.opcodes}

Call = Callable[..., Any]
Resolve = Callable[[str], Any]


class Record:
    """An object of a file: its class by name and what the file says it holds; never an instance of that class."""

    __slots__ = ("name", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: dict[str, Any] = {}

    def build(self, state: Any) -> None:
        """Takes the object's `__dict__`. Raises CheckpointError if that is no table."""
        if type(state) is not dict:
            raise CheckpointError(f"the state of {self.name} is no table")
        self.state = state  # no copy: a thousand objects may name one large table


class Ignored(Record):
    """An object of which a network needs nothing, whatever its state is."""

    __slots__ = ()

    def build(self, state: Any) -> None:
        """Takes any state and keeps none."""


@dataclass(frozen=True)
class Admitted:
    """A name that a file may use: `call` is our own stand-in for it, None if it may be named but not called."""

    name: str
    call: Call | None


@dataclass
class Budget:
    """What may still be read, shared by a file and the pickles inside it."""

    operations: int = MAX_OPERATIONS
    text_bytes: int = MAX_TEXT_BYTES

    def spend(self, text_bytes: int = 0) -> None:
        """Counts one operation. Raises CheckpointError if it is one too many."""
        self.operations -= 1
        self.text_bytes -= text_bytes
        if self.operations < 0 or self.text_bytes < 0:
            what = f"{MAX_OPERATIONS:,} operations" if self.operations < 0 else f"{MAX_TEXT_BYTES:,} bytes of text"
            raise CheckpointError(f"the file takes more than {what} to read")


class PickleMachine:
    """Reads one pickle of `view` from `position` on; `resolve` and `refer` decide what names and references mean."""

    def __init__(
        self, view: memoryview, budget: Budget, resolve: Resolve, refer: Resolve | None = None, position: int = 0
    ) -> None:
        self.position = position  # of the next instruction; after `load`, of what follows the pickle
        self._view = view
        self._budget = budget
        self._resolve = resolve
        self._refer = refer
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The pickle's value, made of plain values, memoryviews and what the handlers return.

        Raises CheckpointError for a damaged pickle, an instruction or name that is not admitted, or too much of it.
        """
        try:
            while self._step():
                pass
            if self._marks or len(self._stack) != 1:
                raise CheckpointError("the pickle leaves loose values")
        except CheckpointError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, struct.error) as error:
            raise CheckpointError(f"the pickle is damaged or cut short ({shortened(str(error))})") from error
        return self._stack.pop()

    def _step(self) -> bool:
        start = self.position
        code = chr(self._take(1)[0])
        name = NAMES.get(code, repr(code))
        self._budget.spend()
        if name in self._EMPTY:
            self._stack.append(self._EMPTY[name]())
        elif name in self._ACTIONS:
            self._ACTIONS[name](self, self._argument(name))
        elif name in COUNTED_TEXT or name in COUNTED_BYTES or name in NUMBERS or name == "LONG1":
            argument = self._argument(name)
            if name not in ("PROTO", "FRAME"):
                self._stack.append(argument)
        elif name != "STOP":
            raise CheckpointError(f"the pickle instruction {name} at byte {start} is not admitted")
        return name != "STOP"

    def _argument(self, name: str) -> Any:
        if name in FORMATS:
            return self._number(FORMATS[name])
        if name in COUNTED_BYTES:
            self._budget.spend()  # once more: a view takes as much memory as two other values
            return self._take(self._number(COUNTED_BYTES[name]))
        if name in COUNTED_TEXT:
            length = self._number(COUNTED_TEXT[name])
            self._budget.spend(text_bytes=length)
            return str(self._take(length), "utf-8", "surrogatepass")
        if name == "LONG1":
            return int.from_bytes(self._take(self._number("<B")), "little", signed=True)
        return self._two_lines() if name == "GLOBAL" else None

    def _take(self, length: int) -> memoryview:
        taken = self._view[self.position : self.position + length]
        if len(taken) < length:
            raise CheckpointError(f"the file is cut short: {length:,} bytes are missing at byte {self.position}")
        self.position += length
        return taken

    def _number(self, form: str) -> Any:
        (number,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return number

    def _two_lines(self) -> str:
        module, name, _ = bytes(self._view[self.position : self.position + MAX_NAME_BYTES]).split(b"\n", 2)
        self.position += len(module) + len(name) + 2
        return f"{module.decode()}.{name.decode()}"

    def _pop_to_mark(self) -> list[Any]:
        values = self._stack
        self._stack = self._marks.pop()
        return values

    def _mark(self, _: Any) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _tuple(self, length: int) -> None:
        if len(self._stack) < length:
            raise IndexError("stack underflow")
        self._stack[-length:] = [tuple(self._stack[-length:])]

    def _marked_tuple(self, _: Any) -> None:
        values = tuple(self._pop_to_mark())
        self._stack.append(values)

    def _frozen_set(self, _: Any) -> None:
        values = self._pop_to_mark()  # stays a list: a set hashes its members
        self._stack.append(values)

    def _append(self, _: Any) -> None:
        value = self._stack.pop()
        _of_type(list, self._stack[-1]).append(value)

    def _appends(self, _: Any) -> None:
        values = self._pop_to_mark()
        _of_type(list, self._stack[-1]).extend(values)

    def _set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def _set_items(self, _: Any) -> None:
        self._set(self._pop_to_mark())

    def _set(self, pairs: list[Any]) -> None:
        table = _of_type(dict, self._stack[-1])
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if type(key) is not str and not (type(key) is int and abs(key) < MAX_KEY):
                raise CheckpointError(f"a table's key is a {type(key).__name__}: expected text or a small integer")
            table[key] = value

    def _global(self, argument: str) -> None:
        self._stack.append(self._resolve(argument))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(self._resolve(f"{_of_type(str, module)}.{_of_type(str, name)}"))

    def _call(self, _: Any) -> None:
        arguments, target = self._stack.pop(), self._stack.pop()
        if not isinstance(target, Admitted) or target.call is None:
            what = target.name if isinstance(target, Admitted) else f"a {type(target).__name__}"
            raise CheckpointError(f"the file calls {what}, which is not admitted")
        if len(_of_type(tuple, arguments)) > MAX_ARGUMENTS:
            raise CheckpointError(f"the file calls {target.name} with {len(arguments)} arguments")
        self._stack.append(target.call(*arguments))

    def _build(self, _: Any) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if type(target) is dict:  # attributes of a dict's subclass, which no StyleGAN file has any use for
            return
        if not hasattr(target, "build"):
            raise CheckpointError(f"the file sets the state of a {type(target).__name__}, which is not admitted")
        target.build(state)

    def _reference(self, _: Any) -> None:
        if self._refer is None:
            raise CheckpointError("the file refers to an object outside it, which is not admitted")
        self._stack.append(self._refer(self._stack.pop()))

    _EMPTY: ClassVar[dict[str, Call]] = {
        "NONE": lambda: None,
        "NEWTRUE": lambda: True,
        "NEWFALSE": lambda: False,
        "EMPTY_TUPLE": tuple,
        "EMPTY_LIST": list,
        "EMPTY_DICT": dict,
        "EMPTY_SET": list,  # a set hashes its members
    }
    _ACTIONS: ClassVar[dict[str, Call]] = {
        "MARK": _mark,
        "BINPUT": _put,
        "LONG_BINPUT": _put,
        "MEMOIZE": _memoize,
        "BINGET": _get,
        "LONG_BINGET": _get,
        "TUPLE1": lambda self, _: self._tuple(1),
        "TUPLE2": lambda self, _: self._tuple(2),
        "TUPLE3": lambda self, _: self._tuple(3),
        "TUPLE": _marked_tuple,
        "FROZENSET": _frozen_set,
        "APPEND": _append,
        "APPENDS": _appends,
        "ADDITEMS": _appends,
        "SETITEM": _set_item,
        "SETITEMS": _set_items,
        "GLOBAL": _global,
        "STACK_GLOBAL": _stack_global,
        "REDUCE": _call,
        "NEWOBJ": _call,
        "BUILD": _build,
        "BINPERSID": _reference,
    }


def _of_type(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise CheckpointError(f"a {type(value).__name__} stands where a pickle needs a {kind.__name__}")
    return value
