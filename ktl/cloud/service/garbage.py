"""Python's search for garbage in cycles, kept short: it stops everybody while it goes through all that lives.

An edge that waits is some 200 objects, so with ten thousand of them a whole search takes more than a second. What has
lived for a while is left out of it, but for a whole search from time to time.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LEAVE_OUT_EVERY = 30.0  # seconds
SEARCH_ALL_EVERY = 900.0  # seconds; what was left out, and became garbage in a cycle, is kept for as long


@contextmanager
def seldom_searched() -> Iterator[None]:
    """While the block runs, for the whole process."""
    over = threading.Event()
    thread = threading.Thread(target=_leave_out, args=(over,), name="garbage", daemon=True)
    gc.freeze()
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        gc.unfreeze()


def _leave_out(over: threading.Event) -> None:
    seconds = 0.0
    while not over.wait(LEAVE_OUT_EVERY):
        seconds += LEAVE_OUT_EVERY
        if seconds >= SEARCH_ALL_EVERY:
            seconds = 0.0
            gc.unfreeze()
            gc.collect()
        gc.freeze()
