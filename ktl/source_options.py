"""Options in a source string: what follows the `?` of `diffusers:FOLDER?steps=4&size=512`, one string in a config."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from ktl.errors import UsageError
from ktl.settings import Settings, describe

Kind = TypeVar("Kind", bound=Settings)


def read_options(kind: type[Kind], query: str, of: str) -> Kind:
    """The settings that `steps=4&size=512` stands for; `of` is what they are options of, in words.

    Raises UsageError that names the option and the choices.
    """
    given = parse_qsl(query, keep_blank_values=True)
    values = dict(given)
    options = {option.name: option for option in describe(kind)}
    for name in values:
        if name not in options:
            raise UsageError(f"unknown option {name!r} of {of}: choose from {', '.join(options)}")
        if sum(name == other for other, _ in given) > 1:
            raise UsageError(f"the option {name!r} of {of} is given twice: give it once")
    try:
        return msgspec.convert(values, kind, strict=False)  # numbers come as texts
    except msgspec.ValidationError as error:
        name = str(error).rpartition("$.")[2].rstrip("`")
        wanted = options[name].expected.removesuffix(", or none")  # an option that is left out is none
        raise UsageError(f"{name} is {values[name]!r}: give {wanted}") from error
