"""Who lets whom go first."""

from __future__ import annotations

from collections import Counter

from ktl.cloud.service.turns import HEAD_START, LONGEST_PAUSE, Turns


def test_an_owner_who_is_ahead_pauses_while_another_ones_round_is_drawn() -> None:
    turns = Turns()
    with turns.drawing("greedy"):
        assert [turns.pause("greedy", 0.1) for _ in range(30)] == [0.0] * 30  # nobody else is there
        with turns.drawing("modest"):
            assert turns.pause("greedy", 0.1) == 3 * 0.1
            assert turns.pause("greedy", 10.0) == LONGEST_PAUSE
            assert turns.pause("modest", 0.1) == 0.0
        assert turns.pause("greedy", 0.1) == 0.0


def test_owners_who_have_drawn_alike_do_not_pause_and_what_was_long_ago_is_forgotten() -> None:
    turns = Turns()
    with turns.drawing("one"), turns.drawing("two"):
        assert [turns.pause(owner, 0.1) for _ in range(50) for owner in ("one", "two")] == [0.0] * 100
        assert turns.pause("one", 2 * HEAD_START) > 0
        turns.forget_half()
        assert turns.pause("one", 0.0) == 0.0


def test_an_owner_who_is_ahead_pauses_while_the_request_of_another_one_is_answered() -> None:
    served: Counter[str] = Counter()
    turns = Turns(served)
    with turns.drawing("greedy"):
        assert turns.pause("greedy", 2 * HEAD_START) == 0.0
        served.update(["greedy", "modest"])
        assert turns.pause("greedy", 0.1) == 3 * 0.1
        del served["modest"]
        assert turns.pause("greedy", 0.1) == 0.0


def test_rounds_of_one_owner_do_not_wait_for_each_other() -> None:
    turns = Turns()
    with turns.drawing("one"), turns.drawing("one"):
        assert turns.pause("one", 100.0) == 0.0
