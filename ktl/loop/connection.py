"""What edges need of a cloud: bytes up, bytes down. In-process and over a network are the same to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


class CloudConnection(Protocol):
    """A session of one or more edges (clients) with a cloud; payloads are those of `ktl.wire`.

    One edge alone is client 0. Uploads are by client number.
    """

    def open(
        self, request: bytes, answered: Sequence[Mapping[int, bytes]], pooled: Sequence[Mapping[int, bytes]] = ()
    ) -> bytes:
        """Starts a session, or takes one up again.

        `answered`: the prototypes of the rounds already done, in order; `pooled`: the class statistics of as many of
        them as pooled any. `request` is an encoded `SessionRequest`; returns an encoded `SessionReply`.
        """

    def exchange(self, uploads: Mapping[int, bytes]) -> bytes:
        """The next round: the clients' prototypes up, the image-vector pairs for all of them down."""

    def warm_start(self, model: str) -> bytes:
        """The trained extractor of an architecture that the request named; waits while the cloud makes it."""

    def pool(self, uploads: Mapping[int, bytes]) -> bytes:
        """The same round's class statistics up, those of all clients so far down: a client's latest ones count."""


@dataclass(frozen=True)
class Standing:
    """Who took part in a round of a session that others take part in, by the edges' names.

    edges: whose class statistics were pooled; late: who came too late with anything, or did not come.
    """

    edges: list[str]
    late: list[str]


@runtime_checkable
class SharedConnection(CloudConnection, Protocol):
    """A session in which other edges take part, too, wherever they are. This edge is client 0."""

    def absent(self, round_index: int) -> str | None:
        """Why this edge has missed a round; None where it is to take part. Asked before each round."""

    def standing(self, round_index: int) -> Standing:
        """Who took part in a round that has ended."""
