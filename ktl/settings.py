"""Settings: frozen dataclasses whose every value is checked where they are constructed.

A field's annotation says what it may hold, and what it is for:

    batch: Annotated[int, Meta(ge=1, description="Shots per step.")] = 32
    optimizer: Literal["adamw", "sgd"] = "adamw"

The same annotations check files, name the choices in errors, and fill listings and the command line's help.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta as Meta  # part of how settings are written

from ktl.errors import UsageError

Kind = TypeVar("Kind", bound="Settings")

PLAIN = (int, float, str, bool)


@dataclass(frozen=True)
class Settings:
    """The base of every settings class. Raises UsageError naming the field, its value, and what it may be."""

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            _check(name, getattr(self, name), hint)


@dataclass(frozen=True)
class NoSettings(Settings):
    """Of a choice that has nothing to set."""


@dataclass(frozen=True)
class Described:
    """One field of a settings class as listings show it."""

    name: str
    default: Any
    expected: str
    description: str
    kind: Any  # its plain type: int, float, bool, str or a Literal


def describe(kind: type[Settings]) -> list[Described]:
    """The fields of a settings class, in order."""
    hints = _hints(kind)
    return [
        Described(f.name, _default(f), expected(hints[f.name]), description(hints[f.name]), _parts(hints[f.name])[0])
        for f in fields(kind)
    ]


def help_for(kind: type[Settings], name: str) -> str:
    """What the field `name` is for: the command line's help says the same as the listing."""
    return description(_hints(kind)[name])


def as_table(settings: Settings) -> dict[str, Any]:
    """The settings as JSON can hold them, nested ones as nested tables."""
    return asdict(settings)  # msgspec's own leaves out defaults of what msgspec has made


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A table without its nesting: {"training.optimizer": "adamw", ...}."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {prefix + name: value}
    return found


def from_table(kind: type[Kind], table: Mapping[str, Any]) -> Kind:
    """Reads what `as_table` gave. Raises UsageError for a value that does not fit or a name that is no setting."""
    try:
        settings = msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        path = str(error).partition(" - at `$.")[2].rstrip("`")
        value, wanted = flat(table).get(path, table), _expected_at(kind, path)
        raise UsageError(f"{path or 'the table'} is {value!r}: give {wanted}") from error
    known = flat(as_table(settings))
    unknown = sorted(name for name, value in flat(table).items() if name not in known and value != {})
    if unknown:
        choices = ", ".join(known) or "none: it has nothing to set"
        raise UsageError(f"{unknown[0]!r} is no setting of {kind.__name__}: choose of {choices}")
    return settings


def with_values(settings: Kind, values: Mapping[str, Any]) -> Kind:
    """The settings with some fields replaced, by their dotted names: {"training.batch": 16, "transfer": "mse"}.

    Of a registry's choice, its name stands for the choice with its default settings, and its settings are named right
    under it: {"transfer": "mse", "transfer.weight": 10.0}, in this order. Raises UsageError for a name that is none or
    a value that does not fit.
    """
    table = as_table(settings)
    for path, value in values.items():
        *parents, name = path.split(".")
        inner: Any = table
        for parent in parents:
            inner = inner.get(parent) if isinstance(inner, dict) else None
            inner = inner["settings"] if _is_choice(inner) else inner
        if not isinstance(inner, dict) or name not in inner:
            known = sorted(known.replace(".settings.", ".") for known in flat(table))
            raise UsageError(f"there is no setting {path}: choose of {', '.join(known)}")
        if _is_choice(inner[name]):
            inner[name] = {"name": value}
            table = as_table(from_table(type(settings), table))  # with its settings, which later values may name
        else:
            inner[name] = value
    return from_table(type(settings), table)


def setting_at(kind: type[Settings], path: str) -> Described:
    """What the class says of a field by its dotted name. Raises LookupError for a name that is none."""
    *parents, name = path.split(".")
    for parent in parents:
        kind = _parts(_hints(kind)[parent])[0]
    return next(field for field in describe(kind) if field.name == name)


def _is_choice(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"name", "settings"}


def _expected_at(kind: type[Settings], path: str) -> str:
    try:
        return setting_at(kind, path).expected
    except (LookupError, StopIteration, TypeError):
        return "a table of settings"


def expected(hint: Any) -> str:
    """What a field with this annotation may hold, in words: 'a whole number of at least 1'."""
    kind, meta, optional = _parts(hint)
    if get_origin(kind) is Literal:
        words = "one of " + ", ".join(map(str, get_args(kind)))
    elif kind in (int, float):
        words = ("a whole number" if kind is int else "a number") + _range(meta)
    else:
        words = {bool: "true or false", str: "text", Union: "a name"}.get(kind, getattr(kind, "__name__", str(kind)))
    return words + (" or none" if optional else "")


def description(hint: Any) -> str:
    """The `description` of an annotation's Meta, or an empty text."""
    _, meta, _ = _parts(hint)
    return (meta.description or "") if meta else ""


def _check(name: str, value: Any, hint: Any) -> None:
    kind, _, _ = _parts(hint)
    if kind in PLAIN or get_origin(kind) is Literal:
        try:
            msgspec.convert(value, hint)
            fits = not isinstance(value, float) or math.isfinite(value)
        except msgspec.ValidationError:
            fits = False
        if not fits:
            raise UsageError(f"{name} is {value!r}: give {expected(hint)}")
    elif isinstance(kind, type) and value is not None and not isinstance(value, kind):
        raise UsageError(f"{name} is {value!r}: give an instance of {kind.__name__}")


def _parts(hint: Any) -> tuple[Any, Meta | None, bool]:
    """An annotation's type, its Meta, and whether None is allowed beside it."""
    meta: Meta | None = None
    optional = False
    while True:
        if get_origin(hint) is Annotated:
            hint, *notes = get_args(hint)
            meta = next((note for note in notes if isinstance(note, Meta)), meta)
        elif get_origin(hint) in (Union, types.UnionType):
            members = [argument for argument in get_args(hint) if argument is not type(None)]
            optional = optional or len(members) < len(get_args(hint))
            if len(members) > 1:  # a registry's choice, or its bare name
                return Union, meta, optional
            (hint,) = members
        else:
            return hint, meta, optional


def _range(meta: Meta | None) -> str:
    if meta is None:
        return ""
    low = f"at least {meta.ge}" if meta.ge is not None else f"above {meta.gt}" if meta.gt is not None else ""
    high = f"at most {meta.le}" if meta.le is not None else f"below {meta.lt}" if meta.lt is not None else ""
    bounds = " and ".join(bound for bound in (low, high) if bound)
    return f" {'of ' if bounds.startswith('at') else ''}{bounds}" if bounds else ""


def value_of(text: str) -> Any:
    """What a text of the command line says: as JSON where it is JSON (3, 0.5, true, null), itself otherwise."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _hints(kind: type[Settings]) -> dict[str, Any]:
    """The annotations of a class's fields; one that only changes a default keeps the bounds of its base's field."""
    lineage = [get_type_hints(each, include_extras=True) for each in kind.__mro__ if issubclass(each, Settings)]
    hints = {}
    for entry in fields(kind):
        own = [found[entry.name] for found in lineage if entry.name in found]
        hints[entry.name] = next((hint for hint in own if _parts(hint)[1] is not None), own[0])
    return hints


def _default(entry: Any) -> Any:
    if entry.default is not MISSING:
        return entry.default
    return entry.default_factory() if entry.default_factory is not MISSING else None
