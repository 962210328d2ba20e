"""What an annotation of a setting says: type, bounds, whether None is allowed, what it is for, and that in words."""

from __future__ import annotations

import math
import types
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Meta

PLAIN = (int, float, str, bool)
WORDS = {
    bool: "true or false",
    str: "text",
    Path: "a path",
    int | str: "a number or text",
    tuple[str, ...]: "a list of texts",
    Union: "a name",
}
_annotations = cache(partial(get_type_hints, include_extras=True))  # a command asks for a hundred options' help
CONSTRAINTS = ("gt", "ge", "lt", "le", "description")  # of a Meta, as far as settings use it


def expected(hint: Any) -> str:
    """What a field with this annotation may hold, in words: 'a whole number of at least 1'."""
    kind, meta, optional = parts(hint)
    if get_origin(kind) is Literal:
        words = "one of " + ", ".join(map(str, get_args(kind)))
    elif kind in (int, float):
        words = ("a whole number" if kind is int else "a number") + _range(meta)
    elif is_dataclass(kind):
        words = "a table of settings"
    else:
        words = WORDS.get(kind, str(kind))
    return words + (", or none" if optional else "")


def description(hint: Any) -> str:
    """The `description` of an annotation's Meta, or an empty text."""
    _, meta, _ = parts(hint)
    return (meta.description or "") if meta else ""


def is_finite(value: Any) -> bool:
    """Whether it is no number, or a finite one: all that a setting may be."""
    return not isinstance(value, float) or math.isfinite(value)


def for_finite(value: Any, words: str) -> str:
    """The words for what is expected in place of `value`: infinity is above 0, but no setting may be it."""
    return words if is_finite(value) else words.replace("a number", "a finite number")


def parts(hint: Any) -> tuple[Any, Meta | None, bool]:
    """An annotation's type, its Metas as one (the outermost wins), and whether None is allowed beside it."""
    metas: list[Meta] = []
    optional = False
    while True:
        if get_origin(hint) is Annotated:
            hint, *notes = get_args(hint)
            metas = [note for note in notes if isinstance(note, Meta)] + metas
        elif get_origin(hint) in (Union, types.UnionType):
            found = members(hint)
            optional = optional or len(found) < len(get_args(hint))
            if len(found) > 1:  # of plain types; else a registry's choice, or its bare name
                return hint if {*found} <= {*PLAIN} else Union, _merged(metas), optional
            (hint,) = found
        else:
            return hint, _merged(metas), optional


def members(union: Any) -> tuple[Any, ...]:
    """The types of a union, but for None."""
    return tuple(argument for argument in get_args(union) if argument is not type(None))


def _merged(metas: Sequence[Meta]) -> Meta | None:
    values = {name: getattr(meta, name) for meta in metas for name in CONSTRAINTS if getattr(meta, name) is not None}
    return Meta(**values) if values else None


def _range(meta: Meta | None) -> str:
    if meta is None:
        return ""
    low = f"at least {meta.ge}" if meta.ge is not None else f"above {meta.gt}" if meta.gt is not None else ""
    high = f"at most {meta.le}" if meta.le is not None else f"below {meta.lt}" if meta.lt is not None else ""
    bounds = " and ".join(bound for bound in (low, high) if bound)
    return f" {'of ' if bounds.startswith('at') else ''}{bounds}" if bounds else ""


def hints(kind: type) -> dict[str, Any]:
    """The annotations of a class's fields; one that only changes a default keeps the bounds of its base's field."""
    lineage = [_annotations(each) for each in kind.__mro__ if is_dataclass(each)]
    found = {each.name: [known[each.name] for known in lineage if each.name in known] for each in fields(kind)}
    return {name: next((hint for hint in own if parts(hint)[1] is not None), own[0]) for name, own in found.items()}
