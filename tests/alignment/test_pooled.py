from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.alignment.base import AlignedLatents
from ktl.alignment.pooled import PooledAlignment
from ktl.class_statistics import ClassStatistics, class_statistics
from ktl.generators.base import ImageGenerator, members_of, sample_latents
from ktl.generators.pool.pool import PoolGenerator
from ktl.prototypes import bare_prototypes
from ktl.seeds import stream
from ktl.spaces.base import SharedSpace
from ktl.spaces.latent import LatentSpace

from .conftest import Mahalanobis

EDGES = [bare_prototypes(torch.tensor([0, 2])), bare_prototypes(torch.tensor([2, 3]))]


def standardised(generator: ImageGenerator, latents: Tensor) -> Tensor:
    fresh = sample_latents(generator, 4000, stream(9, "fresh"))
    return F.normalize((latents - fresh.mean(dim=0)) / fresh.std(dim=0), dim=1)


def statistics_of(generator: ImageGenerator, classes: Tensor) -> ClassStatistics:
    """Of a direction for each class: a latent's own."""
    latents = sample_latents(generator, len(classes), stream(3, "class means"))
    return class_statistics(standardised(generator, latents), classes)


def aligned(
    generator: ImageGenerator, known: ClassStatistics | None, candidates: int, rounds: int = 1
) -> AlignedLatents:
    strategy = PooledAlignment(4, 4, seed=1, settings=PooledAlignment.Settings(candidates))
    for _ in range(rounds):
        if known is not None:
            strategy.learn(known, LatentSpace(generator))
        latents = strategy.align(EDGES, generator, 40)
    return latents


def test_latents_lie_towards_the_pooled_means_nearest_first_and_are_as_valid_as_fresh_ones(
    builtin: ImageGenerator, mahalanobis: Mahalanobis
) -> None:
    known = statistics_of(builtin, torch.tensor([0, 2, 3]))
    found = aligned(builtin, known, candidates=16)
    fresh = aligned(builtin, None, candidates=16)
    assert found.classes.tolist() == fresh.classes.tolist() == [0, 2, 3]
    for label, near, far in zip(range(3), found.latents, fresh.latents, strict=True):
        cosines, chance = (standardised(builtin, each) @ known.means[label] for each in (near, far))
        assert cosines.mean() > chance.mean() + 0.1
        assert cosines.diff().max() <= 0.01  # sorted, but for how the reference is drawn
    assert torch.equal(found.centroids, found.latents[:, 0])
    distances, usual = mahalanobis(found.latents.flatten(0, 1)), mahalanobis(fresh.latents.flatten(0, 1))
    assert distances.max() < 1.3 * usual.max()


def test_a_class_of_which_nothing_is_known_gets_fresh_latents_and_each_round_others(builtin: ImageGenerator) -> None:
    known = statistics_of(builtin, torch.tensor([0]))
    first, second = aligned(builtin, known, candidates=4), aligned(builtin, known, candidates=4, rounds=2)
    unknown = aligned(builtin, None, candidates=4)
    assert torch.equal(first.latents[1:], unknown.latents[1:])
    assert not torch.equal(first.latents[0], unknown.latents[0])
    assert len(torch.cat([first.latents, second.latents]).flatten(0, 1).unique(dim=0)) == 240


class Thumbnails:
    fingerprint = "thumbnails"
    dimension = 48

    def embed(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images.float(), 4).flatten(1)


def test_of_a_pool_the_nearest_of_all_images_are_chosen_by_their_directions_as_they_are() -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    pool = PoolGenerator(images, Thumbnails(), name="noise", licence="CC0", dimension=8)
    members = members_of(pool)
    assert members is not None
    direction = F.normalize(members[7], dim=0)
    found = aligned(pool, class_statistics(direction[None], torch.tensor([2])), candidates=1).latents[1]
    cosines = F.cosine_similarity(members, direction[None])
    # centred by a sample, as edges centre by their pairs: one of nearly the same cosine may take another's place
    assert F.cosine_similarity(found, direction[None]).mean() > cosines.topk(40).values.mean() - 0.01
    assert {tuple(latent) for latent in found.tolist()} <= {tuple(latent) for latent in members.tolist()}
    assert len(found.unique(dim=0)) == 40


class ByImage(SharedSpace):
    name = "by image"
    dimension = 4

    def vectors(self, latents: Tensor, images: Tensor) -> Tensor:
        raise AssertionError("no image is drawn to choose latents")


def test_vectors_that_only_an_image_has_do_not_guide_latents(builtin: ImageGenerator) -> None:
    strategy = PooledAlignment(4, 4, seed=1)
    strategy.learn(class_statistics(torch.eye(4), torch.arange(4)), ByImage(builtin))
    unknown = PooledAlignment(4, 4, seed=1).align(EDGES, builtin, 3)
    assert torch.equal(strategy.align(EDGES, builtin, 3).latents, unknown.latents)
