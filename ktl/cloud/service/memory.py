"""The memory that rounds take while they are drawn: each says how much before, and waits until there is room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition

LOOK_EVERY = 0.5  # seconds, whether the one that waits should give up


@dataclass(eq=False)
class _Wish:
    owner: str
    wanted: int


class MemoryBudget:
    """`most` bytes for all rounds at once, of which one owner's may take seven eighths together.

    So there is always some for a small round of somebody else. Whose owner has fewest rounds drawn is next, of equals
    who came first, and is not passed by smaller ones.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.largest = most - most // 8
        self.taken: Counter[str] = Counter()  # bytes by owner
        self._drawn: Counter[str] = Counter()  # rounds by owner
        self.waiting: list[_Wish] = []  # in the order in which they came
        self._changed = Condition()

    @contextmanager
    def of(self, wanted: int, owner: str, give_up: Callable[[], bool]) -> Iterator[bool]:
        """`wanted` bytes, at most `largest`, while the block runs. False, and none, if `give_up` came first."""
        wish = _Wish(owner, min(wanted, self.largest))
        with self._changed:
            self.waiting.append(wish)
            while self._next() is not wish and not give_up():
                self._changed.wait(LOOK_EVERY)
            granted = self._next() is wish
            self.waiting.remove(wish)
            self._count(wish, int(granted))
        try:
            yield granted
        finally:
            with self._changed:
                self._count(wish, -int(granted))

    def _next(self) -> _Wish | None:
        """Who is to be granted what there is room for now."""
        may = [wish for wish in self.waiting if self.taken[wish.owner] + wish.wanted <= self.largest]
        first = min(may, key=lambda wish: self._drawn[wish.owner], default=None)
        return first if first is not None and self.taken.total() + first.wanted <= self.most else None

    def _count(self, wish: _Wish, step: int) -> None:
        self.taken[wish.owner] += step * wish.wanted
        self._drawn[wish.owner] += step
        if not self._drawn[wish.owner]:
            del self.taken[wish.owner], self._drawn[wish.owner]
        self._changed.notify_all()
