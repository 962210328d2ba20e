"""Thumbnails: single images of a finished round, read from the stored payload without reading the rest of it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.store import Store, Stored
from ktl.wire import PAIRS_HEADER_BYTES

MAX_CLASSES, MAX_PER_CLASS = 24, 6  # in the grid
REMEMBERED = 16  # rounds whose places are kept in memory


@dataclass(frozen=True)
class Places:
    """Where each image of a round lies. starts, ends (n,) int64: bytes of the payload; classes (n,) int32."""

    stored: Stored
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    classes: NDArray[np.int32]


@dataclass(frozen=True)
class Grid:
    """The images that the page shows of a round: indices by class, and how many classes it leaves out."""

    session: str
    round: int
    rows: dict[int, list[int]]
    left_out: int


class Thumbnails:
    """Reads single images of rounds; a round never changes, so what is known of it stays true."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._places = lru_cache(REMEMBERED)(self._find)

    def grid(self, session: str, number: int) -> Grid:
        """The first images of the first classes of a round. Raises Refused (not-found)."""
        classes = self._places(self.store.stored(session, number)).classes
        present = np.unique(classes)
        rows = {int(c): np.flatnonzero(classes == c)[:MAX_PER_CLASS].tolist() for c in present[:MAX_CLASSES]}
        return Grid(session, number, rows, max(len(present) - MAX_CLASSES, 0))

    def file(self, session: str, number: int, index: int) -> bytes:
        """One image of a round, encoded as the session asked for. Raises Refused (not-found)."""
        places = self._places(self.store.stored(session, number))
        if not 0 <= index < len(places.classes):
            raise Refused("not-found", f"round {number} has {len(places.classes)} images, and no number {index}")
        return self._bytes(places.stored, int(places.starts[index]), int(places.ends[index]))

    def _find(self, stored: Stored) -> Places:
        head = self._bytes(stored, 0, min(PAIRS_HEADER_BYTES, stored.size))
        (length,) = struct.unpack("<Q", head[:8])
        header = json.loads(head[8 : 8 + length])

        def array(name: str) -> Any:
            first, last = (8 + length + offset for offset in header[name]["data_offsets"])
            return np.frombuffer(self._bytes(stored, first, last), dtype="<i4")

        ends = array("lengths").astype(np.int64).cumsum() + 8 + length + header["images"]["data_offsets"][0]
        return Places(stored, ends - array("lengths"), ends, array("classes"))

    def _bytes(self, stored: Stored, start: int, end: int) -> bytes:
        content = b"".join(self.store.read(stored, start, end))
        if len(content) != end - start:
            raise Refused("not-found", f"session {stored.session} was deleted")
        return content
