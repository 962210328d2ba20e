"""Tests in several processes at once (pytest -n): one core each, and what is timed runs while no other test does."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch


def pytest_configure() -> None:
    """One thread for tests and the processes that they start: the same bits whether or not tests run in parallel."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests marked `timing` last, when other workers have little left that they would wait for."""
    items.sort(key=_is_timed)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """What a timed test needs is made beside others; what others need is not made while one is timed."""
    with _turn(None if _is_timed(item) else fcntl.LOCK_SH):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Any number of tests share the lock on this file; a test marked `timing` has it for itself."""
    with _turn(fcntl.LOCK_EX if _is_timed(item) else fcntl.LOCK_SH):
        return (yield)


@contextmanager
def _turn(kind: int | None) -> Iterator[None]:
    with open(__file__) as file:
        if kind is not None:
            fcntl.flock(file, kind)
        yield


def _is_timed(item: pytest.Item) -> bool:
    return item.get_closest_marker("timing") is not None
