"""Settings: frozen dataclasses whose every value is checked where they are constructed.

A field's annotation says what it may hold, and what it is for:

    batch: Annotated[int, Meta(ge=1, description="Shots per step.")] = 32
    optimizer: Literal["adamw", "sgd"] = "adamw"

The same annotations check files, name the choices in errors, and fill listings and the command line's help.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields
from typing import Any, Literal, TypeVar, Union, get_origin

import msgspec
from msgspec import Meta as Meta  # part of how settings are written

from ktl.errors import UsageError
from ktl.field_annotations import PLAIN, description, expected, for_finite, hints, is_finite, members, parts

Kind = TypeVar("Kind", bound="Settings")


@dataclass(frozen=True)
class Settings:
    """The base of every settings class. Raises UsageError naming the field, its value, and what it may be."""

    def __post_init__(self) -> None:
        for name, hint in hints(type(self)).items():
            _check(name, getattr(self, name), hint)


@dataclass(frozen=True)
class NoSettings(Settings):
    """The settings of a choice that has nothing to set."""


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
    of_fields = hints(kind)
    return [_described(entry, of_fields[entry.name]) for entry in fields(kind)]


def help_for(kind: type[Settings], name: str) -> str:
    """What the field `name` is for: the command line's help says the same as the listing."""
    return description(hints(kind)[name])


def as_table(settings: Settings) -> dict[str, Any]:
    """The settings as JSON can hold them, nested ones as nested tables."""
    return asdict(settings)  # msgspec's own leaves out defaults of what msgspec has made


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A table without its nesting: {"training.optimizer": "adamw", ...}."""
    values: dict[str, Any] = {}
    for name, value in table.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {prefix + name: value}
    return values


def named_values(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values in a table of settings by the names that `with_values` takes: {"cloud.alignment": "robust", ...}."""
    values: dict[str, Any] = {}
    for name, value in table.items():
        if _is_choice(value):
            values |= {prefix + name: value["name"]} | named_values(value["settings"], f"{prefix}{name}.")
        elif isinstance(value, Mapping):
            values |= named_values(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = value
    return values


def from_table(kind: type[Kind], table: Mapping[str, Any]) -> Kind:
    """Reads what `as_table` gave. Raises UsageError for a value that does not fit or a name that is no setting.

    A registry's choice may be its bare name too: it has its default settings then.
    """
    try:
        settings = msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        path = str(error).partition(" - at `$.")[2].rstrip("`")
        value = _value_at(table, path)
        wanted = for_finite(value, _expected_at(kind, path))
        raise UsageError(f"{path or 'the table'} is {value!r}: give {wanted}") from error
    known = as_table(settings)
    if unknown := sorted(_unknown(table, known)):
        choices = f"choose one of {', '.join(flat(known))}" if known else "it has nothing to set"
        raise UsageError(f"{unknown[0]!r} is no setting of {kind.__name__}: {choices}")
    return settings


def with_values(settings: Kind, values: Mapping[str, Any]) -> Kind:
    """The settings with some fields replaced, by their dotted names: {"training.batch": 16, "transfer": "mse"}.

    Of a registry's choice, its name stands for the choice with its default settings, and its settings are named right
    under it: "transfer.temperature". Choices come first, whatever the order. Raises UsageError for a name that is none
    or a value that does not fit.
    """
    choices = {path: value for path, value in values.items() if _holds_choice(type(settings), path)}
    if choices:
        settings = _replaced(settings, choices)
    return _replaced(settings, {path: value for path, value in values.items() if path not in choices})


def setting_at(kind: type[Settings], path: str) -> Described:
    """What the class says of a field by its dotted name. Raises LookupError for a name that is none."""
    *parents, name = path.split(".")
    for parent in parents:
        kind = parts(hints(kind)[parent])[0]
        if not (isinstance(kind, type) and issubclass(kind, Settings)):
            raise LookupError(path)
    entry = {entry.name: entry for entry in fields(kind)}[name]
    return _described(entry, hints(kind)[name])  # that field alone: others' defaults may import torch


def _described(entry: Field[Any], hint: Any) -> Described:
    return Described(entry.name, _default(entry), expected(hint), description(hint), parts(hint)[0])


def _replaced(settings: Kind, values: Mapping[str, Any]) -> Kind:
    table = as_table(settings)
    for path, value in values.items():
        *parents, name = path.split(".")
        inner: Any = table
        for parent in parents:
            inner = inner.get(parent) if isinstance(inner, dict) else None
            inner = inner["settings"] if _is_choice(inner) else inner
        if not isinstance(inner, dict) or name not in inner:
            raise UsageError(f"there is no setting {path}: choose one of {', '.join(named_values(as_table(settings)))}")
        inner[name] = value
    return from_table(type(settings), table)


def _unknown(table: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names in `table` that are none in `known`."""
    for name, value in table.items():
        if name not in known:
            yield f"{prefix}{name}"
        elif isinstance(value, Mapping) and isinstance(known[name], Mapping):
            yield from _unknown(value, known[name], f"{prefix}{name}.")


def _is_choice(value: Any) -> bool:
    """Whether a value of a table is a registry's choice."""
    return isinstance(value, dict) and value.keys() == {"name", "settings"}


def _holds_choice(kind: type[Settings], path: str) -> bool:
    """Whether the field by this dotted name holds a registry's choice."""
    try:
        return setting_at(kind, path).kind is Union
    except LookupError:
        return False


def _value_at(table: Any, path: str) -> Any:
    for name in path.split(".") if path else []:
        table = table.get(name)
    return table


def _expected_at(kind: type[Settings], path: str) -> str:
    while path:
        try:
            return setting_at(kind, path).expected
        except LookupError:  # within a registry's choice
            path = path.rpartition(".")[0]
    return "a table of settings"


def _check(name: str, value: Any, hint: Any) -> None:
    kind, _, optional = parts(hint)
    if value is None and optional:
        return
    if kind in PLAIN or get_origin(kind) in (Literal, tuple):
        try:
            msgspec.convert(value, hint)
            fits = is_finite(value)
        except msgspec.ValidationError:
            fits = False
        words = for_finite(value, expected(hint))
    elif kind is Union or isinstance(kind, types.UnionType):
        fits, words = isinstance(value, members(hint if kind is Union else kind)), expected(hint)
    else:
        fits, words = isinstance(value, kind), f"an instance of {kind.__name__}"
    if not fits:
        raise UsageError(f"{name} is {value!r}: give {words}")


def value_of(text: str) -> Any:
    """What a text of the command line says: as JSON where it is JSON (3, 0.5, true), None for none, else itself."""
    if text == "none":
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _default(entry: Any) -> Any:
    if entry.default is not MISSING:
        return entry.default
    return entry.default_factory() if entry.default_factory is not MISSING else None
