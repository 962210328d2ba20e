"""Choices by name, resolved when first used, so that listing them costs no import."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ktl.errors import UsageError


class Registry:
    """Names of one kind of choice, each with its `module:attribute` and a line that says what it is."""

    def __init__(self, kind: str, entries: dict[str, tuple[str, str]]) -> None:
        self.kind = kind
        self._entries = entries

    def names(self) -> list[str]:
        """The choices, in the order of the registry."""
        return list(self._entries)

    def summary(self, name: str) -> str:
        """The line that says what `name` is."""
        return self._entries[self.check(name)][1]

    def check(self, name: str) -> str:
        """Returns `name` if it is a choice; raises UsageError that lists the choices otherwise."""
        if name not in self._entries:
            raise UsageError(f"unknown {self.kind} {name!r}: choose one of {', '.join(self._entries)}")
        return name

    def load(self, name: str) -> Any:
        """Imports and returns what `name` stands for."""
        module, attribute = self._entries[self.check(name)][0].split(":")
        return getattr(import_module(module), attribute)
