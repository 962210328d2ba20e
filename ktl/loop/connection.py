"""What an edge needs of a cloud: bytes up, bytes down. In-process and over a network are the same to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class CloudConnection(Protocol):
    """One edge's session with a cloud; payloads are those of `ktl.wire`."""

    def open(self, request: bytes, answered: Sequence[bytes]) -> bytes:
        """Starts a session, or takes one up again: `answered` are the uploads of the rounds already done."""

    def exchange(self, prototypes: bytes) -> bytes:
        """One round: prototypes up, image-vector pairs down."""
