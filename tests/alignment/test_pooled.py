from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.alignment.base import AlignedLatents
from ktl.alignment.pooled import PooledAlignment
from ktl.class_statistics import ClassStatistics, class_statistics
from ktl.generators.base import ImageGenerator, sample_latents
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
