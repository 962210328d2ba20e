"""What happens, told at once to those who wait in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Literal

Kind = Literal["opened", "round", "ended", "deleted", "stopping"]


@dataclass(frozen=True)
class Event:
    """Something changed: a session was opened or deleted, a round moved on or ended. The store knows what it is now."""

    kind: Kind
    session: str = ""
    round: int = 0


class Changes:
    """One listener's view: `wait` returns True as soon as something changed since it last returned."""

    def __init__(self, session: str | None, ends_only: bool) -> None:
        self.session = session
        self.ends_only = ends_only
        self.stopping = False
        self.deleted = False
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def wait(self, seconds: float) -> bool:
        """Waits for a change, for at most so many seconds."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        self._changed.clear()
        return True

    def tell(self, event: Event) -> None:
        """Called from any thread. Many changes before one `wait` are one: a slow listener costs no memory."""
        if event.kind == "stopping":
            self.stopping = True
        elif self.session not in (None, event.session) or (self.ends_only and event.kind == "round"):
            return
        elif event.kind == "deleted" and self.session is not None:
            self.deleted = True
        self._loop.call_soon_threadsafe(self._changed.set)


class Events:
    """Passes each event on to every listener whose session it concerns."""

    def __init__(self) -> None:
        self._listeners: set[Changes] = set()
        self._lock = Lock()
        self._stopping = False

    @contextmanager
    def listen(self, session: str | None = None, *, ends_only: bool = False) -> Iterator[Changes]:
        """Changes of one session, or of all; with `ends_only` not those on a round's way.

        Listen first, then read the store: nothing is missed in between.
        """
        changes = Changes(session, ends_only)
        with self._lock:
            changes.stopping = self._stopping
            self._listeners.add(changes)
        try:
            yield changes
        finally:
            with self._lock:
                self._listeners.discard(changes)

    def tell(self, event: Event) -> None:
        """Called from any thread."""
        with self._lock:
            self._stopping = self._stopping or event.kind == "stopping"
            listeners = list(self._listeners)
        for listener in listeners:
            listener.tell(event)
