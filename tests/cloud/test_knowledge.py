"""The cloud's side of a session: prototypes in, image-vector pairs out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ktl.cloud.knowledge import KnowledgeCloud
from ktl.errors import UsageError
from ktl.generators import load_generator
from ktl.generators.network import NetworkGenerator
from ktl.pairs import ImageVectorPairs, concatenate
from ktl.prototypes import Prototypes, class_prototypes
from ktl.seeds import stream
from ktl.wire import SessionRequest, decode_pairs, encode_pairs

REQUEST = SessionRequest(
    num_classes=4,
    image_size=16,
    channels=3,
    pairs_per_class=5,
    download_bytes=1_000_000,
    alignment="robust",
    image_format="png",
    seed=7,
)


def draw(cloud: KnowledgeCloud, prototypes: list[Prototypes]) -> ImageVectorPairs:
    return concatenate(list(cloud.pairs(prototypes)))


ALIGNMENTS = pytest.mark.parametrize("alignment", ["robust", "published"])


def prototypes_of(classes: list[int], seed: int = 0) -> Prototypes:
    """Prototypes of three random samples of each class, in 4 dimensions."""
    labels = torch.tensor(classes).repeat_interleave(3)
    return class_prototypes(torch.randn(len(labels), 4, generator=stream(seed, "embeddings")), labels)


@ALIGNMENTS
def test_every_class_with_a_prototype_gets_as_many_pairs_as_were_asked_for(
    tiny_generator: NetworkGenerator, alignment: str
) -> None:
    cloud = KnowledgeCloud(tiny_generator, replace(REQUEST, alignment=alignment))
    pairs = draw(cloud, [prototypes_of([0, 2, 3])])
    assert pairs.classes.tolist() == [0, 2, 3] * 5  # a prefix of any length serves all classes alike
    assert (pairs.images.shape, pairs.images.dtype) == ((15, 3, 16, 16), torch.uint8)
    assert (pairs.vectors.shape, pairs.vectors.dtype) == ((15, 16), torch.float32)


def test_images_are_drawn_as_they_are_taken(tiny_generator: NetworkGenerator) -> None:
    drawn = []

    class Counting(NetworkGenerator):
        def images(self, latents: torch.Tensor) -> torch.Tensor:
            drawn.append(len(latents))
            return super().images(latents)

    generator = Counting(tiny_generator.network, name="counting", licence="", fingerprint="")
    batches = KnowledgeCloud(generator, replace(REQUEST, pairs_per_class=100)).pairs([prototypes_of([0, 1, 2, 3])])
    assert drawn == []
    assert [len(next(batches).images), len(next(batches).images)] == drawn == [128, 128]


@pytest.mark.parametrize(("version", "latent_bytes"), [(1, 32), (2, 16)])  # of 16 numbers: float16, int8
def test_no_more_latents_are_aligned_than_the_budget_can_hold(
    tiny_generator: NetworkGenerator, version: int, latent_bytes: int
) -> None:
    request = replace(REQUEST, pairs_per_class=1000, download_bytes=latent_bytes * 40, pairs_version=version)
    assert len(draw(KnowledgeCloud(tiny_generator, request), [prototypes_of([0, 1, 2, 3])])) == 40


@ALIGNMENTS
def test_the_images_are_those_of_the_vectors_that_arrive(tiny_generator: NetworkGenerator, alignment: str) -> None:
    request = replace(REQUEST, alignment=alignment)
    pairs = draw(KnowledgeCloud(tiny_generator, request), [prototypes_of([0, 1, 2, 3])])
    arrived = decode_pairs(encode_pairs([pairs], request), request, tiny_generator.latent_dim)
    with torch.no_grad():
        assert torch.equal(tiny_generator.images(arrived.vectors), arrived.images)
    assert torch.equal(arrived.vectors, pairs.vectors)


@ALIGNMENTS
def test_the_pairs_of_a_class_differ(tiny_generator: NetworkGenerator, alignment: str) -> None:
    pairs = draw(KnowledgeCloud(tiny_generator, replace(REQUEST, alignment=alignment)), [prototypes_of([0, 1, 2, 3])])
    for c in range(4):
        assert len(pairs.vectors[pairs.classes == c].unique(dim=0)) == 5
        assert len(pairs.images[pairs.classes == c].flatten(1).unique(dim=0)) == 5


def test_a_grey_session_gets_the_luma_of_the_colour_images(tiny_generator: NetworkGenerator) -> None:
    prototypes = [prototypes_of([0, 1, 2, 3])]
    colour = draw(KnowledgeCloud(tiny_generator, REQUEST), prototypes)
    grey = draw(KnowledgeCloud(tiny_generator, replace(REQUEST, channels=1)), prototypes)
    assert grey.images.shape == (20, 1, 16, 16)
    red, green, blue = colour.images.double().unbind(dim=1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert (grey.images[:, 0] - luma).abs().max() <= 0.501
    assert torch.equal(grey.vectors, colour.vectors)


@pytest.mark.parametrize("size", [8, 28])
def test_images_come_in_the_size_that_was_asked_for(tiny_generator: NetworkGenerator, size: int) -> None:
    prototypes = [prototypes_of([0, 1])]
    own = draw(KnowledgeCloud(tiny_generator, REQUEST), prototypes)
    resized = draw(KnowledgeCloud(tiny_generator, replace(REQUEST, image_size=size)), prototypes)
    assert resized.images.shape == (10, 3, size, size)
    own_means, resized_means = own.images.float().mean(dim=(2, 3)), resized.images.float().mean(dim=(2, 3))
    assert (own_means - resized_means).abs().max() < 6.0


@ALIGNMENTS
def test_prototypes_of_several_edges_are_pooled(tiny_generator: NetworkGenerator, alignment: str) -> None:
    request = replace(REQUEST, alignment=alignment)
    pairs = draw(
        KnowledgeCloud(tiny_generator, request), [prototypes_of([0, 1], seed=1), prototypes_of([1, 3], seed=2)]
    )
    assert pairs.classes.unique().tolist() == [0, 1, 3]
    assert len(pairs) == 15


@ALIGNMENTS
def test_a_skipped_round_leaves_the_session_where_an_answered_one_would(
    tiny_generator: NetworkGenerator, alignment: str
) -> None:
    request = replace(REQUEST, alignment=alignment)
    rounds = [[prototypes_of([0, 1, 2, 3], seed)] for seed in range(3)]
    answered, skipped = KnowledgeCloud(tiny_generator, request), KnowledgeCloud(tiny_generator, request)
    for prototypes in rounds[:2]:
        draw(answered, prototypes)
        skipped.skip(prototypes)
    expected, got = draw(answered, rounds[2]), draw(skipped, rounds[2])
    assert torch.equal(got.vectors, expected.vectors)
    assert torch.equal(got.images, expected.images)


def test_the_reply_tells_the_seed_and_the_generator(tiny_generator: NetworkGenerator) -> None:
    reply = KnowledgeCloud(tiny_generator, REQUEST).reply()
    assert (reply.etf_seed, reply.latent_dim, reply.generator, reply.licence) == (7, 16, "tiny", "CC0-1.0")
    assert reply.fingerprint == tiny_generator.fingerprint


def test_an_unknown_alignment_is_refused_with_the_choices(tiny_generator: NetworkGenerator) -> None:
    with pytest.raises(UsageError, match="unknown alignment 'perfect': choose one of robust, pooled, random"):
        KnowledgeCloud(tiny_generator, replace(REQUEST, alignment="perfect"))


def test_a_pool_sends_each_image_once_and_fewer_than_asked_for_where_it_has_no_more(photographs: Path) -> None:
    cloud = KnowledgeCloud(load_generator(f"pool:{photographs}"), replace(REQUEST, pairs_per_class=20))
    pairs = draw(cloud, [prototypes_of([0, 1, 3])])
    assert pairs.classes.bincount().tolist() == [13, 13, 0, 13]  # of 40 images
    assert len(pairs.images.flatten(1).unique(dim=0)) == 39
    assert torch.equal(pairs.vectors, pairs.vectors.half().float())


def test_a_pool_with_fewer_images_than_classes_is_refused(photographs: Path, tmp_path: Path) -> None:
    for name in ("00.png", "01.png"):
        shutil.copy(photographs / name, tmp_path)
    cloud = KnowledgeCloud(load_generator(f"pool:{tmp_path}?licence=CC0"), REQUEST)
    with pytest.raises(UsageError, match="holds 2 images, too few for 3 classes: add some"):
        cloud.pairs([prototypes_of([0, 1, 3])])
