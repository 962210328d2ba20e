"""Tables that come from files are turned into dataclasses: each value is checked against its field's annotation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from reprlib import repr as shortened
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from ktl.errors import CheckpointError
from ktl.field_annotations import expected
from ktl.generators.networks.bounds import Number

Kind = TypeVar("Kind")

MESSAGE = re.compile(r"(?P<reason>.*?)( - at `\$\.?(?P<path>[^`]*)`)?")
MISSING = re.compile(r"Object missing required field `(\w+)`")


def decoded(kind: type[Kind], table: Mapping[str, Any]) -> Kind:
    """The dataclass `kind` that a file's `table` describes; nested tables and lists become dataclasses too.

    Raises CheckpointError naming the first value that is missing, of another type or out of its bounds, with what it
    may be, and any name that `kind` does not have.
    """
    try:
        made = msgspec.convert(table, kind)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # of half a surrogate pair in a text
        raise CheckpointError(_explained(str(error), kind, table)) from error
    unknown = _unknown(table, msgspec.to_builtins(made))
    if unknown:
        raise CheckpointError(f"it has {shortened(unknown[0])}, which is no setting of {kind.__name__}")
    return made


def _explained(message: str, kind: Any, table: Any) -> str:
    """msgspec's message with the value that it is about and all that the field may be."""
    match = MESSAGE.fullmatch(message)
    reason, path = (match["reason"], match["path"] or "") if match else (message, "")
    value, hint = table, kind
    for name, index in re.findall(r"(\w+)|\[(\d+)\]", path) if reason else []:
        value, hint = (value[name], _fields(hint)[name]) if name else (value[int(index)], get_args(_plain(hint))[0])
    if missing := MISSING.fullmatch(reason):
        path, hint = f"{path}.{missing[1]}".lstrip("."), _fields(hint)[missing[1]]
        return f"its {path} is missing: {_wanted(hint) or reason.lower()}"
    return f"its {path or 'description'} is {shortened(value)}: {_wanted(hint) or reason[0].lower() + reason[1:]}"


def _wanted(hint: Any) -> str:
    """What a field may hold, in words; an empty text for lists and tables."""
    if hint in (Number, Number | None):
        return "expected a positive number below 1,000,000"
    leaf = _plain(hint) in (int, float, bool, str) or get_origin(hint) is Literal
    return f"expected {expected(hint)}" if leaf else ""


def _fields(kind: Any) -> dict[str, Any]:
    return get_type_hints(_plain(kind), include_extras=True)


def _plain(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _unknown(given: Any, known: Any) -> list[Any]:
    """The names in `given`, at any depth, that `known` does not have."""
    if isinstance(given, Mapping):
        inner = [odd for name in given if name in known for odd in _unknown(given[name], known[name])]
        return [name for name in given if name not in known] + inner
    if isinstance(given, (list, tuple)):
        return [odd for pair in zip(given, known, strict=True) for odd in _unknown(*pair)]
    return []
