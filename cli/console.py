"""What commands share: how they print, refuse a choice and name a run's folder, and how Ctrl-C asks a run to stop."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from ktl.errors import Interrupted, UsageError

# paths and class names are printed as they are, even those that look like Rich's markup
output = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


MovedData = Annotated[
    str | None, typer.Option(help="Where the data is now.", show_default="where it was at the training")
]


class Remarks(logging.Handler):
    """Prints what ktl logs of data, each line once: commands read a folder more than once."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self.said:
            self.said.add(text)
            errors.print(text)


@contextmanager
def remarks() -> Iterator[None]:
    """Inside, lines about the data are printed."""
    logs, handler = [logging.getLogger(name) for name in ("ktl.data", "ktl.edge")], Remarks()
    for log in logs:
        log.addHandler(handler)
    try:
        yield
    finally:
        for log in logs:
            log.removeHandler(handler)


def check_choice(option: str, value: str, choices: list[str]) -> None:
    """Raises UsageError that lists the choices if `value` is none of them."""
    if value not in choices:
        raise UsageError(f"unknown {option} {value!r}: choose one of {', '.join(choices)}")


def check_device(name: str) -> None:
    """Raises UsageError for a device that this machine does not have."""
    if name != "cpu":
        from ktl.learning.process import is_available

        if not is_available(name):
            raise UsageError(f"device is {name!r}: this machine has none that torch can use; leave --device out")


def unused_folder(name: str) -> Path:
    """runs/<name>, numbered if it exists."""
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder


class Stop(Event):
    """Set when the run is to stop."""

    _at_once: str | None = None  # what to say

    @contextmanager
    def at_once(self, words: str) -> Iterator[None]:
        """Inside, where there is nothing to save, a stop raises Interrupted with the words."""
        self._at_once = words
        try:
            self.check()
            yield
        finally:
            self._at_once = None

    def check(self) -> None:
        """Raises Interrupted for a stop in `at_once`."""
        if self.is_set() and self._at_once is not None:
            raise Interrupted(self._at_once)


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Inside, Ctrl-C or SIGTERM asks the run to save itself and stop; a second Ctrl-C ends it at once."""
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        stop.check()
        errors.print("stopping after this step; once more to stop without saving")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(error: Exception) -> int:
    """The exit code that tells a script what kind of failure it was."""
    if isinstance(error, UsageError):
        return 2
    return 130 if type(error).__name__ == "Interrupted" else 1
