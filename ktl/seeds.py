"""Independent random streams from one seed: a stream is named, not consumed, so a resumed run needs no saved state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

_global_state = RLock()  # torch's global random state is one for all threads


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for the stream named by `path`, e.g. derive(0, "shots", 3): the same on every machine."""
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def stream(seed: int, *path: str | int) -> torch.Generator:
    """A CPU random generator for the stream named by `path`."""
    return torch.Generator().manual_seed(derive(seed, *path))


@contextmanager
def initialising(seed: int, *path: str | int) -> Iterator[None]:
    """Inside, torch's modules draw their initial weights from the stream named by `path`; outside nothing changes.

    One thread at a time: others that come here wait.
    """
    with _global_state, torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, *path))
        yield
