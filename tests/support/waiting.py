"""Waiting for what happens a moment later, in another thread or process."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether it became true within these seconds; checked a last time at their end."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.005)
    return true()
