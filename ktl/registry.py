"""Choices by name: ktl's own, those that other packages register, and anything importable as `module:Class`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ktl.errors import UsageError
from ktl.settings import NoSettings, Settings, from_table, value_of


@dataclass(frozen=True)
class Choice:
    """A name and its settings: an instance of the chosen class's `Settings`, once a registry has resolved it."""

    name: str
    settings: Any = None


def chosen(choice: Choice | str | None) -> Choice:
    """A choice that the settings which hold it have resolved; only there may it be written as a bare name."""
    assert isinstance(choice, Choice)
    return choice


class Registry:
    """One kind of choice. Nothing is imported before it is used, so that listing names costs no import.

    `entries` are ktl's own: a name, its `module:attribute`, and a line that says what it is. Other packages add theirs
    as entry points of `group`; ktl's own names win. What comes from elsewhere goes through `adapt`, the
    `module:function` of a function (name, loaded) that returns what is used or raises UsageError.
    """

    def __init__(self, kind: str, group: str, entries: Mapping[str, tuple[str, str]], adapt: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self._entries = entries
        self._adapt = adapt

    @cached_property
    def _registered(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group) if point.name not in self._entries}

    def builtin(self) -> list[str]:
        """The names of ktl's own choices, in order: what help texts list."""
        return list(self._entries)

    def names(self) -> list[str]:
        """All installed choices: ktl's own, then those that other packages register."""
        return [*self._entries, *sorted(self._registered)]

    def summary(self, name: str) -> str:
        """A line that says what `name` is."""
        if name in self._entries:
            return self._entries[name][1]
        lines = (self.load(name).__doc__ or "").strip().splitlines() or ["no description"]
        return lines[0]

    def check(self, name: str) -> str:
        """Returns `name` if it is installed or reads `module:Class`; raises UsageError that lists the choices."""
        if not (self._is_installed(name) or is_import_path(name)):
            raise UsageError(f"{self._unknown(name)}, or module:Class")
        return name

    def check_installed(self, name: str) -> str:
        """As `check`, but without `module:Class`: for names that a stranger sends."""
        if not self._is_installed(name):
            raise UsageError(self._unknown(name))
        return name

    def _is_installed(self, name: str) -> bool:
        return name in self._entries or name in self._registered

    def _unknown(self, name: str) -> str:
        return f"unknown {self.kind} {name!r}: choose one of {', '.join(self.names())}"

    def load(self, name: str) -> Any:
        """Imports and returns what `name` stands for. Raises UsageError."""
        self.check(name)
        if name in self._entries:
            return imported(self._entries[name][0])
        target = self._registered[name].value if name in self._registered else name
        try:
            loaded = imported(target)
        except (ImportError, AttributeError) as error:
            raise UsageError(f"cannot load {self.kind} {name!r} ({error}); give an importable module:Class") from error
        return loaded if self._adapt is None else imported(self._adapt)(name, loaded)

    def settings_of(self, name: str) -> type[Settings]:
        """The settings class of a choice: its `Settings`, or one without fields."""
        kind: type[Settings] = getattr(self.load(name), "Settings", NoSettings)
        return kind

    def choose(self, name: str, /, **values: Any) -> Choice:
        """The choice `name` with some settings, the others by default. Raises UsageError naming what is wrong."""
        return Choice(name, from_table(self.settings_of(name), values))

    def parse(self, text: str) -> Choice:
        """The choice that one line of text names: NAME, or NAME?SETTING=VALUE&SETTING=VALUE. Raises UsageError."""
        name, _, settings = text.partition("?")
        parts = [part.partition("=") for part in settings.split("&") if part]
        return self.choose(name, **{setting: value_of(value) for setting, _, value in parts})

    def resolve(self, choice: Choice | str) -> Choice:
        """A choice whose settings are an instance of its class: of a bare name the defaults, of a table its values."""
        if isinstance(choice, str):
            return self.choose(choice)
        if choice.settings is None or isinstance(choice.settings, Mapping):
            return self.choose(choice.name, **(choice.settings or {}))
        kind = self.settings_of(choice.name)
        if not isinstance(choice.settings, kind):
            raise UsageError(
                f"{self.kind} {choice.name!r} has settings of {type(choice.settings).__name__}: give {kind.__name__}"
            )
        return choice


def is_import_path(name: str) -> bool:
    """Whether a name reads `module:Class`."""
    module, colon, attribute = name.partition(":")
    return bool(colon) and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))


def imported(target: str) -> Any:
    """What `module:attribute` names, modules of the working folder included. Raises ImportError, AttributeError."""
    module, _, attribute = target.partition(":")
    before = list(sys.path)
    sys.path.append("")
    try:
        return getattr(import_module(module), attribute)
    finally:
        sys.path[:] = before


def subclass(base: type, kind: str) -> Callable[[str, Any], Any]:
    """An `adapt` of a registry whose choices are complete subclasses of `base` with settings that are `Settings`."""

    def adapt(name: str, loaded: Any) -> Any:
        if not (isinstance(loaded, type) and issubclass(loaded, base)):
            wanted = f"{base.__module__}.{base.__name__}"
            raise UsageError(f"{kind} {name!r} is {loaded!r}: give a class derived from {wanted}")
        if missing := sorted(getattr(loaded, "__abstractmethods__", ())):
            raise UsageError(f"{kind} {name!r} lacks {', '.join(missing)}(): define it")
        settings = getattr(loaded, "Settings", NoSettings)
        if not (isinstance(settings, type) and issubclass(settings, Settings)):
            raise UsageError(f"{kind} {name!r} has Settings that are {settings!r}: derive ktl.settings.Settings")
        return loaded

    return adapt
