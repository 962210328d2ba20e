"""A cloud in the edge's own process: the same bytes cross over as between two machines."""

from __future__ import annotations

from collections.abc import Sequence

from ktl.cloud.knowledge import KnowledgeCloud
from ktl.errors import UsageError
from ktl.generators.base import ImageGenerator
from ktl.wire import SessionRequest, decode_message, decode_prototypes, encode_message, encode_pairs


class EmbeddedCloud:
    """Answers one edge's session from a generator in this process. Implements `ktl.loop.connection.CloudConnection`."""

    def __init__(self, generator: ImageGenerator) -> None:
        self.generator = generator
        self._cloud: KnowledgeCloud | None = None

    def open(self, request: bytes, answered: Sequence[bytes]) -> bytes:
        """Starts a session, or takes one up again after the rounds whose uploads are in `answered`."""
        self._cloud = KnowledgeCloud(self.generator, decode_message(request, SessionRequest))
        for prototypes in answered:
            self._cloud.skip([decode_prototypes(prototypes, self._cloud.request.num_classes)])
        return encode_message(self._cloud.reply())

    def exchange(self, prototypes: bytes) -> bytes:
        """One round: prototypes up, pairs down."""
        if self._cloud is None:
            raise UsageError("the session is not open: call open() before exchange()")
        request = self._cloud.request
        pairs = self._cloud.pairs([decode_prototypes(prototypes, request.num_classes)])
        return encode_pairs(pairs, request.image_format, request.download_bytes)
