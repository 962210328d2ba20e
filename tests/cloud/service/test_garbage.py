"""The search for garbage: what lives on is left out, and found in the end when it is garbage."""

from __future__ import annotations

import gc
import weakref

import pytest
from support.waiting import eventually

from ktl.cloud.service import garbage


class Cycle:
    """Refers to itself, so that only a search finds it when nobody else does."""

    def __init__(self) -> None:
        self.itself = self


def test_what_has_lived_for_a_while_is_searched_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "LEAVE_OUT_EVERY", 0.05)
    monkeypatch.setattr(garbage, "SEARCH_ALL_EVERY", 0.5)
    cycle = Cycle()
    left = weakref.ref(cycle)
    with garbage.seldom_searched():
        assert gc.get_freeze_count() > 0
        del cycle
        gc.collect()
        assert left() is not None
        assert eventually(lambda: left() is None)
    assert gc.get_freeze_count() == 0
