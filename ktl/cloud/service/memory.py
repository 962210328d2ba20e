"""The memory that rounds take while they are drawn: each says how much before, and waits until there is room."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

LOOK_EVERY = 0.5  # seconds, whether the one that waits should give up


class MemoryBudget:
    """`most` bytes for all rounds at once. Who came first gets theirs first, so that a large one is not passed by."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._waiting: deque[object] = deque()
        self._changed = Condition()

    @contextmanager
    def of(self, wanted: int, give_up: Callable[[], bool]) -> Iterator[bool]:
        """`wanted` bytes, at most all of them, while the block runs. False, and none, if `give_up` came first."""
        wanted, ticket = min(wanted, self.most), object()
        with self._changed:
            self._waiting.append(ticket)
            while (self._waiting[0] is not ticket or self.taken + wanted > self.most) and not give_up():
                self._changed.wait(LOOK_EVERY)
            self._waiting.remove(ticket)
            granted = self.taken + wanted <= self.most and not give_up()
            self.taken += wanted if granted else 0
            self._changed.notify_all()
        try:
            yield granted
        finally:
            with self._changed:
                self.taken -= wanted if granted else 0
                self._changed.notify_all()
