"""Rounds wait until there is memory for them; nobody takes all of it, and nobody is passed by for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from support.waiting import eventually

from ktl.cloud.service.memory import MemoryBudget


class Rounds:
    """Threads that take memory, in the order in which they were begun, and keep it until they are ended."""

    def __init__(self, most: int) -> None:
        self.budget = MemoryBudget(most)
        self.granted: list[str] = []
        self._ends: dict[str, threading.Event] = {}
        self._threads: dict[str, threading.Thread] = {}

    def begin(self, name: str, owner: str, wanted: int) -> None:
        self._ends[name] = threading.Event()

        def take() -> None:
            with self.budget.of(wanted, owner, lambda: False):
                self.granted.append(name)
                self._ends[name].wait(10)

        self._threads[name] = threading.Thread(target=take)
        before = len(self.granted) + len(self.budget.waiting)
        self._threads[name].start()
        eventually(lambda: len(self.granted) + len(self.budget.waiting) > before)

    def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            self._threads[name].join(10)

    def were_granted(self, *names: str) -> bool:
        return eventually(lambda: self.granted == list(names))


@contextmanager
def rounds(most: int) -> Iterator[Rounds]:
    those = Rounds(most)
    yield those
    those.end(*those._threads)
    assert those.budget.taken.total() == 0


def test_an_owners_rounds_take_seven_eighths_together() -> None:
    with rounds(80) as those:
        for name, wanted in (("a", 40), ("b", 60), ("c", 10)):
            those.begin(name, "owner", wanted)
        assert those.were_granted("a", "c")  # with b it would be more
        those.end("a", "c")
        assert those.were_granted("a", "c", "b")


def test_whose_owner_has_least_is_next_and_there_is_some_for_everybody() -> None:
    with rounds(80) as those:
        for name in ("a", "b", "c"):
            those.begin(name, "greedy", 70)
        those.begin("d", "modest", 10)
        assert those.were_granted("a", "d")
    with rounds(80) as those:
        those.begin("a", "greedy", 30)
        those.begin("b", "modest", 40)
        those.begin("c", "greedy", 35)
        those.begin("d", "third", 35)
        those.end("b")
        assert those.were_granted("a", "b", "d")  # before c, which came first


def test_a_large_one_is_not_passed_by_a_small_one_of_somebody_else() -> None:
    with rounds(80) as those:
        for name, wanted in (("a", 40), ("b", 60), ("c", 10)):
            those.begin(name, f"owner of {name}", wanted)
        assert those.were_granted("a")
        those.end("a")
        assert those.were_granted("a", "b", "c")


def test_whoever_gives_up_takes_nothing_and_lets_others_pass() -> None:
    budget = MemoryBudget(80)
    with budget.of(50, "a", lambda: False) as first:
        assert first
        with budget.of(50, "b", lambda: True) as second:
            assert not second
        assert dict(budget.taken) == {"a": 50}
    with budget.of(999, "a", lambda: False) as as_much_as_one_may:
        assert as_much_as_one_may
        assert dict(budget.taken) == {"a": 70}
