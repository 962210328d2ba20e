"""Sessions of two edges: what these send, and the pairs that they get from an embedded cloud or over HTTP."""

from __future__ import annotations

from pathlib import Path

import torch

from ktl.cloud.embedded import EmbeddedCloud
from ktl.edge.network.http import HttpCloud
from ktl.edge.network.transport import Access
from ktl.generators.base import ImageGenerator
from ktl.prototypes import class_prototypes
from ktl.seeds import stream
from ktl.spaces.base import SharedSpace
from ktl.wire import SessionRequest, encode_message, encode_prototypes


def uploads(session: str, round_: int, classes: int) -> dict[int, bytes]:
    """What the two edges of a session send for a round."""
    return {edge: _prototypes(f"{session}/{round_}/{edge}", classes) for edge in (0, 1)}


def _prototypes(name: str, classes: int) -> bytes:
    embeddings = torch.randn(3 * classes, classes, generator=stream(0, "embeddings", name))
    return encode_prototypes(class_prototypes(embeddings, torch.arange(classes).repeat_interleave(3)))


def drawn_alone(
    generator: ImageGenerator, request: SessionRequest, session: str, rounds: int, space: SharedSpace | None = None
) -> list[bytes]:
    """Each round's pairs, of an embedded cloud."""
    cloud = EmbeddedCloud(generator, space)
    cloud.open(encode_message(request), [])
    return [cloud.exchange(uploads(session, number, request.num_classes)) for number in range(1, rounds + 1)]


def drawn_by(access: Access, run: Path, request: SessionRequest, session: str, rounds: int) -> list[bytes]:
    """Each round's pairs, of a service; `run` is a folder of this session's own. Raises what `HttpCloud` raises."""
    cloud = HttpCloud(access, run, clients=2)
    cloud.open(encode_message(request), [])
    return [cloud.exchange(uploads(session, number, request.num_classes)) for number in range(1, rounds + 1)]
