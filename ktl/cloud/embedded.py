"""A cloud in the edge's own process: the same bytes cross over as between two machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ktl.cloud.knowledge import KnowledgeCloud, architecture
from ktl.cloud.pooling import pool_payloads
from ktl.errors import UsageError
from ktl.generators import load_generator
from ktl.generators.base import ImageGenerator
from ktl.prototypes import Prototypes
from ktl.registry import Choice
from ktl.settings import as_table
from ktl.spaces import space_of
from ktl.spaces.base import SharedSpace
from ktl.warm_start.settings import WarmStartConfig
from ktl.warm_start.warm_starts import OnStep, WarmStarts
from ktl.wire import (
    SessionRequest,
    decode_message,
    decode_pooled,
    decode_prototypes,
    encode_message,
    encode_pairs,
)


class EmbeddedCloud:
    """Answers one session from a generator in this process. Implements `ktl.loop.connection.CloudConnection`.

    Its requests come from this very program, so an alignment may be any `module:Class`. Any part of the clients may
    take part in a round.
    """

    def __init__(
        self,
        generator: ImageGenerator,
        space: SharedSpace | None = None,
        warm_starts: WarmStartConfig = WarmStartConfig(),
        *,
        on_step: OnStep = lambda step, steps, loss: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`space`: what pairs' vectors are; if none, what the generator's size stands for.

        `on_step` and `should_stop` are of warm starts, which are made in this process where they are not kept yet.
        """
        self.generator = generator
        self.space = space or space_of(generator)
        self.warm_starts = WarmStarts(generator, self.space, warm_starts)
        self._on_step = on_step
        self._should_stop = should_stop
        self._cloud: KnowledgeCloud | None = None
        self._round = 0  # the last one, from 1
        self._contributions: dict[int, tuple[int, bytes]] = {}  # each client's latest round and statistics

    def open(
        self, request: bytes, answered: Sequence[Mapping[int, bytes]], pooled: Sequence[Mapping[int, bytes]] = ()
    ) -> bytes:
        """Starts a session, or takes one up again after the rounds whose uploads are given.

        Raises WireError for a request or an upload that is out of bounds, UsageError for an unknown alignment.
        """
        asked = decode_message(request, SessionRequest)
        cloud = self._cloud = KnowledgeCloud(self.generator, asked, self.space, self.warm_starts, trusted=True)
        self._round, self._contributions = 0, {}
        for index, prototypes in enumerate(answered):
            self._round += 1
            cloud.skip(_decoded(prototypes, asked.num_classes))
            if index < len(pooled) and pooled[index]:
                self.pool(pooled[index])
        return encode_message(cloud.reply())

    def exchange(self, uploads: Mapping[int, bytes]) -> bytes:
        """One round: prototypes by client number up, pairs down. Raises WireError, UsageError."""
        cloud = self._opened()
        pairs = cloud.pairs(_decoded(uploads, cloud.request.num_classes))
        payload = encode_pairs(pairs, cloud.request)
        self._round += 1
        return payload

    def pool(self, uploads: Mapping[int, bytes]) -> bytes:
        """Class statistics by client number up, those of all clients so far down. Raises WireError, UsageError."""
        cloud = self._opened()
        self._contributions |= {client: (self._round, upload) for client, upload in uploads.items()}
        oldest = self._round - cloud.request.memory
        parts = [part for _, (sent_in, part) in sorted(self._contributions.items()) if sent_in > oldest]
        payload = pool_payloads(parts, cloud.request.num_classes, cloud.space.dimension)
        cloud.learn(decode_pooled(payload, cloud.request.num_classes, cloud.space.dimension))
        return payload

    def warm_start(self, model: str) -> bytes:
        """The warm start of an architecture that the session asked for. Raises Interrupted after `should_stop()`."""
        wanted = architecture(self._opened().request, model)
        return self.warm_starts.make(wanted, self._on_step, self._should_stop)

    def _opened(self) -> KnowledgeCloud:
        if self._cloud is None:
            raise UsageError("the session is not open: call open() first")
        return self._cloud


def embedded_cloud(
    generator: Choice,
    space: Choice | None,
    warm_starts: WarmStartConfig = WarmStartConfig(),
    *,
    on_step: OnStep = lambda step, steps, loss: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> EmbeddedCloud:
    """Of a chosen generator, whose images are kept if it is slow, and of its chosen space; else as `EmbeddedCloud`."""
    loaded = load_generator(generator.name, as_table(generator.settings), cached=True)
    return EmbeddedCloud(loaded, space_of(loaded, space), warm_starts, on_step=on_step, should_stop=should_stop)


def _decoded(uploads: Mapping[int, bytes], num_classes: int) -> list[Prototypes]:
    """In the clients' order, whoever was first: pooling adds floating-point numbers."""
    if not uploads:
        raise UsageError("a round without uploads has no pairs: let at least one client take part")
    return [decode_prototypes(upload, num_classes) for _, upload in sorted(uploads.items())]
