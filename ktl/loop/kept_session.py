"""A finished run's session with a cloud, from the run's folder alone: no cloud is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.numpy import load_file

from ktl.errors import CheckpointError
from ktl.loop.connection import Standing
from ktl.loop.exchange import REPLY_FILE
from ktl.wire import SessionReply, encode_message


class KeptSession:
    """A session of which everything lies in wire/; implements `ktl.loop.connection.SharedConnection`."""

    def __init__(self, wire: Path, seed: int) -> None:
        self.wire = wire
        self.seed = seed

    def open(
        self, request: bytes, answered: Sequence[Mapping[int, bytes]], pooled: Sequence[Mapping[int, bytes]] = ()
    ) -> bytes:
        """What the cloud replied; of a run that did not keep it, what the pairs say themselves.

        Raises CheckpointError where there are none.
        """
        reply = self.wire / REPLY_FILE
        if reply.exists():
            return reply.read_bytes()
        files = sorted(self.wire.glob("*-pairs.safetensors"))
        if not files:
            raise CheckpointError(f"{self.wire} has no image-vector pairs; train anew")
        dimension = load_file(files[-1])["vectors"].shape[1]
        return encode_message(SessionReply(self.seed, dimension, generator="", licence="", fingerprint=""))

    def exchange(self, uploads: Mapping[int, bytes]) -> bytes:
        """Raises CheckpointError: the round asked for was not kept."""
        raise CheckpointError(f"{self.wire} lacks a round's files; train anew")

    pool = exchange

    def warm_start(self, model: str) -> bytes:
        """Raises CheckpointError: trained weights lie in the run, and none are begun with."""
        raise self._finished()

    def absent(self, round_index: int) -> str | None:
        """Raises CheckpointError: there is no further round."""
        raise self._finished()

    def standing(self, round_index: int) -> Standing:
        """Raises CheckpointError: the run's rows have it."""
        raise self._finished()

    def _finished(self) -> CheckpointError:
        return CheckpointError(f"{self.wire} is of a finished run; train anew")
