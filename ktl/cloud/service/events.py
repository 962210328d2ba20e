"""What happens, told at once to those who wait in this process, and by a relay to the other servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Literal

# "queued" and "drawn" are of a round too: it waits to be drawn; a batch of its pairs was; "missed": something, perhaps
Kind = Literal["opened", "round", "queued", "drawn", "ended", "deleted", "missed", "stopping"]
ON_THE_WAY = ("round", "queued", "drawn")


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
        self.on_the_way = False  # whether something happened that `ends_only` does not wait for
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
        elif self.ends_only and event.kind in ON_THE_WAY:
            self.on_the_way = True
            return
        elif event.kind == "deleted" and self.session is not None:
            self.deleted = True
        self._loop.call_soon_threadsafe(self._changed.set)


class Events:
    """Passes each event on to every listener whose session it concerns."""

    def __init__(self) -> None:
        self.relay: Callable[[Event], None] | None = None  # tells other servers
        self._listeners: dict[str | None, set[Changes]] = {}  # by session
        self._watchers: list[Callable[[Event], None]] = []
        self._lock = Lock()
        self._stopping = False

    def watch(self, heard: Callable[[Event], None]) -> None:
        """Has `heard` called with every event, in the thread that tells it: it must be quick."""
        self._watchers.append(heard)

    @contextmanager
    def listen(self, session: str | None = None, *, ends_only: bool = False) -> Iterator[Changes]:
        """Changes of one session, or of all; with `ends_only` not those on a round's way.

        Listen first, then read the store: nothing is missed in between.
        """
        changes = Changes(session, ends_only)
        with self._lock:
            changes.stopping = self._stopping
            self._listeners.setdefault(session, set()).add(changes)
        try:
            yield changes
        finally:
            with self._lock:
                self._listeners[session].discard(changes)
                if not self._listeners[session]:
                    del self._listeners[session]

    def tell(self, event: Event) -> None:
        """Called from any thread."""
        self.hear(event)
        if self.relay is not None:
            self.relay(event)

    def hear(self, event: Event) -> None:
        """As `tell`, of what another server told."""
        with self._lock:
            self._stopping = self._stopping or event.kind == "stopping"
            listeners = self._concerned(event)
        for listener in listeners:
            listener.tell(event)
        for heard in self._watchers:
            heard(event)

    def _concerned(self, event: Event) -> list[Changes]:
        if event.kind in ("stopping", "missed"):
            return [each for listeners in self._listeners.values() for each in listeners]
        return [each for session in (None, event.session) for each in self._listeners.get(session, ())]
