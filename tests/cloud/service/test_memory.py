"""Rounds wait until there is memory for them, in the order in which they came."""

from __future__ import annotations

import threading
import time

from ktl.cloud.service.memory import MemoryBudget


def taken_by(budget: MemoryBudget, wanted: int, done: list[int], until: threading.Event) -> threading.Thread:
    def take() -> None:
        with budget.of(wanted, lambda: False) as granted:
            assert granted
            done.append(wanted)
            until.wait(5)

    thread = threading.Thread(target=take)
    thread.start()
    while wanted not in done and not budget._waiting:
        time.sleep(0.001)
    return thread


def test_a_large_one_waits_and_is_not_passed_by_a_small_one() -> None:
    budget, done, free = MemoryBudget(10), [], threading.Event()
    threads = [taken_by(budget, 6, done, free)]
    assert (done, budget.taken) == ([6], 6)
    threads.append(taken_by(budget, 7, done, free))
    late = threading.Thread(target=lambda: taken_by(budget, 2, done, free).join())
    late.start()
    time.sleep(0.05)
    assert done == [6]  # 2 would fit, but 7 came before
    free.set()
    for thread in [*threads, late]:
        thread.join(5)
    assert (sorted(done), done[0], budget.taken) == ([2, 6, 7], 6, 0)


def test_whoever_gives_up_takes_nothing_and_lets_others_pass() -> None:
    budget = MemoryBudget(10)
    with budget.of(8, lambda: False) as first:
        assert first
        with budget.of(8, lambda: True) as second:
            assert not second
        assert budget.taken == 8
    with budget.of(99, lambda: False) as all_of_it:
        assert all_of_it
        assert budget.taken == 10
