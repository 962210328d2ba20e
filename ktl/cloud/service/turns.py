"""Whose rounds have been drawn for how long of late, so that one owner's many or long ones do not hold up others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from threading import Lock

HEAD_START = 1.0  # seconds of drawing that one owner may be ahead of another
LONGEST_PAUSE = 0.5  # seconds


class Turns:
    """Seconds of drawing, by owner. Any thread may call.

    `served`: who has requests that are being answered at the moment, by the same names; it changes all the time.
    """

    def __init__(self, served: Collection[str] = ()) -> None:
        self._served = served
        self._seconds: dict[str, float] = {}
        self._drawing: Counter[str] = Counter()  # rounds
        self._lock = Lock()

    @contextmanager
    def drawing(self, owner: str) -> Iterator[None]:
        """Held while a round of this owner is drawn."""
        self._count(owner, 1)
        try:
            yield
        finally:
            self._count(owner, -1)

    def pause(self, owner: str, seconds: float) -> float:
        """Counts so many seconds of drawing. How long to pause after them: three times as long, while the owner is
        ahead of another one whose round is being drawn, or whose request is being answered; else 0.
        """
        with self._lock:
            self._seconds[owner] = self._seconds.get(owner, 0.0) + seconds
            others = [self._seconds.get(other, 0.0) for other in {*self._drawing, *self._served} if other != owner]
            ahead = bool(others) and self._seconds[owner] > min(others) + HEAD_START
        return min(3 * seconds, LONGEST_PAUSE) if ahead else 0.0

    def forget_half(self) -> None:
        """What was long ago counts less and less: called at a steady pace."""
        with self._lock:
            self._seconds = {owner: seconds / 2 for owner, seconds in self._seconds.items() if seconds > HEAD_START / 8}

    def _count(self, owner: str, step: int) -> None:
        with self._lock:
            self._drawing[owner] += step
            if not self._drawing[owner]:
                del self._drawing[owner]
