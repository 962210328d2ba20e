"""Tests in several processes at once (pytest -n): one core each."""

from __future__ import annotations

import os

import torch


def pytest_configure() -> None:
    """One thread for tests and the processes that they start: the same bits whether or not tests run in parallel."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
