"""Thumbnails: single images of a finished round, read from the stored payload without reading all of it."""

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
from ktl.wire import PAIRS_HEADER_BYTES, SessionRequest, decode_message
from ktl.wire.contact_sheets import Pixels, decode_sheet, encode_sheet

MAX_CLASSES, MAX_PER_CLASS = 24, 6  # in the grid
REMEMBERED = 16  # rounds whose places are kept in memory, and picture files
DTYPES = {"I32": "<i4", "U16": "<u2"}


@dataclass(frozen=True)
class Places:
    """Where a round's images lie: in picture files of one or many, whose bytes of the payload are `starts` to `ends`.

    `counts`: images in each file; all three (m,) int64. `classes`: (n,), of the images.
    """

    stored: Stored
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    counts: NDArray[np.int64]
    classes: NDArray[np.integer[Any]]


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
        self._pictures = lru_cache(REMEMBERED)(self._decoded)

    def grid(self, session: str, number: int) -> Grid:
        """The first images of the first classes of a round. Raises Refused (not-found)."""
        classes = self._places(self.store.stored(session, number)).classes
        present = np.unique(classes)
        rows = {int(c): np.flatnonzero(classes == c)[:MAX_PER_CLASS].tolist() for c in present[:MAX_CLASSES]}
        return Grid(session, number, rows, max(len(present) - MAX_CLASSES, 0))

    def file(self, session: str, number: int, index: int) -> bytes:
        """One image of a round as a PNG file. Raises Refused (not-found)."""
        stored = self.store.stored(session, number)
        places = self._places(stored)
        if not 0 <= index < len(places.classes):
            raise Refused("not-found", f"round {number} has {len(places.classes)} images, and no number {index}")
        ends = places.counts.cumsum()
        picture = int(np.searchsorted(ends, index, side="right"))
        position = index - int(ends[picture] - places.counts[picture])
        return encode_sheet(self._pictures(stored, picture)[position : position + 1], "png")

    def _decoded(self, stored: Stored, picture: int) -> Pixels:
        """All images of one of a round's picture files."""
        places = self._places(stored)
        request = decode_message(self.store.opening(stored.session)[0], SessionRequest)
        file = self._bytes(stored, int(places.starts[picture]), int(places.ends[picture]))
        count = int(places.counts[picture])
        return decode_sheet(file, f"picture {picture}", count, request.image_size, request.channels)

    def _find(self, stored: Stored) -> Places:
        head = self._bytes(stored, 0, min(PAIRS_HEADER_BYTES, stored.size))
        (length,) = struct.unpack("<Q", head[:8])
        header = json.loads(head[8 : 8 + length])

        def array(name: str) -> Any:
            first, last = (8 + length + offset for offset in header[name]["data_offsets"])
            return np.frombuffer(self._bytes(stored, first, last), dtype=DTYPES[header[name]["dtype"]])

        lengths = array("lengths").astype(np.int64)
        counts = array("counts").astype(np.int64) if "counts" in header else np.ones_like(lengths)
        ends = lengths.cumsum() + 8 + length + header["images"]["data_offsets"][0]
        return Places(stored, ends - lengths, ends, counts, array("classes"))

    def _bytes(self, stored: Stored, start: int, end: int) -> bytes:
        content = b"".join(self.store.read(stored, start, end))
        if len(content) != end - start:
            raise Refused("not-found", f"session {stored.session} was deleted")
        return content
