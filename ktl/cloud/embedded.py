"""A cloud in the edge's own process: the same bytes cross over as between two machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ktl.cloud.knowledge import KnowledgeCloud
from ktl.errors import UsageError
from ktl.generators.base import ImageGenerator
from ktl.prototypes import Prototypes
from ktl.wire import (
    SessionRequest,
    decode_message,
    decode_prototypes,
    decode_statistics,
    encode_message,
    encode_pairs,
    encode_statistics,
)


class EmbeddedCloud:
    """Answers one session from a generator in this process. Implements `ktl.loop.connection.CloudConnection`.

    Its requests come from this very program, so an alignment may be any `module:Class`. Any part of the clients may
    take part in a round.
    """

    def __init__(self, generator: ImageGenerator) -> None:
        self.generator = generator
        self._cloud: KnowledgeCloud | None = None

    def open(self, request: bytes, answered: Sequence[Mapping[int, bytes]]) -> bytes:
        """Starts a session, or takes one up again after the rounds whose uploads are in `answered`.

        Raises WireError for a request or an upload that is out of bounds, UsageError for an unknown alignment.
        """
        cloud = self._cloud = KnowledgeCloud(self.generator, decode_message(request, SessionRequest), trusted=True)
        for uploads in answered:
            cloud.skip(_decoded(uploads, cloud.request.num_classes))
        return encode_message(cloud.reply())

    def exchange(self, uploads: Mapping[int, bytes]) -> bytes:
        """One round: prototypes by client number up, pairs down. Raises WireError, UsageError."""
        if self._cloud is None:
            raise UsageError("the session is not open: call open() before exchange()")
        request = self._cloud.request
        pairs = self._cloud.pairs(_decoded(uploads, request.num_classes))
        return encode_pairs(pairs, request.image_format, request.download_bytes)

    def pool(self, uploads: Mapping[int, bytes]) -> bytes:
        """Class statistics by client number up, those of all clients so far down. Raises WireError, UsageError."""
        if self._cloud is None:
            raise UsageError("the session is not open: call open() before pool()")
        classes, dimension = self._cloud.request.num_classes, self.generator.latent_dim
        statistics = {client: decode_statistics(upload, classes, dimension) for client, upload in uploads.items()}
        return encode_statistics(self._cloud.pool(statistics))


def _decoded(uploads: Mapping[int, bytes], num_classes: int) -> list[Prototypes]:
    """In the clients' order, whoever was first: pooling adds floating-point numbers."""
    if not uploads:
        raise UsageError("a round without uploads has no pairs: let at least one client take part")
    return [decode_prototypes(upload, num_classes) for _, upload in sorted(uploads.items())]
