"""What a round may take is known before it is drawn, and never less than what it takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ktl.cloud.knowledge import KnowledgeCloud
from ktl.cloud.round_bounds import round_bounds
from ktl.generators.network import NetworkGenerator
from ktl.prototypes import class_prototypes
from ktl.seeds import stream
from ktl.wire import SessionRequest, count_pairs, encode_pairs

REQUEST = SessionRequest(
    num_classes=4,
    image_size=16,
    channels=3,
    pairs_per_class=40,
    download_bytes=1_000_000,
    alignment="robust",
    image_format="png",
    seed=1,
)
PROTOTYPES = class_prototypes(torch.randn(12, 4, generator=stream(0, "embeddings")), torch.arange(4).repeat(3))


@pytest.mark.parametrize("alignment", ["robust", "pooled", "random", "published"])
@pytest.mark.parametrize("pairs_version", [1, 2])
@pytest.mark.parametrize("download_bytes", [3_000, 1_000_000])
def test_a_round_takes_no_more_than_its_bounds(
    tiny_generator: NetworkGenerator, alignment: str, download_bytes: int, pairs_version: int
) -> None:
    asked = replace(REQUEST, alignment=alignment, download_bytes=download_bytes, pairs_version=pairs_version)
    cloud = KnowledgeCloud(tiny_generator, asked)
    bounds = round_bounds(cloud, edges=1)
    payload = encode_pairs(cloud.pairs([PROTOTYPES]), asked)
    assert 0 < count_pairs(payload) <= bounds.pairs
    assert len(payload) <= bounds.payload <= download_bytes
    assert bounds.memory > 4 * bounds.payload


@pytest.mark.parametrize(
    "more", [{"num_classes": 1000}, {"pairs_per_class": 1000}, {"image_size": 256}, {"download_bytes": 10**8}]
)
def test_whoever_asks_for_more_needs_more_memory(tiny_generator: NetworkGenerator, more: dict[str, int]) -> None:
    ample = replace(REQUEST, download_bytes=10**7, pairs_per_class=900)
    base = replace(REQUEST, num_classes=900, pairs_per_class=900) if "download_bytes" in more else ample
    before, after = (round_bounds(KnowledgeCloud(tiny_generator, each), 3) for each in (base, replace(base, **more)))
    assert after.memory > before.memory


def test_each_edge_needs_memory_and_vectors_that_an_alignment_copies_need_more(
    tiny_generator: NetworkGenerator,
) -> None:
    robust, published = (
        KnowledgeCloud(tiny_generator, replace(REQUEST, num_classes=100, alignment=name))
        for name in ("robust", "published")
    )
    a_hundred = round_bounds(robust, 100).memory - round_bounds(robust, 0).memory
    assert a_hundred == 100 * (65_536 + 100 * 112 + 4 * 100 * 100)
    assert round_bounds(published, 100).memory - round_bounds(published, 0).memory > a_hundred
