from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.alignment.published import PublishedAlignment
from ktl.alignment.robust import RobustAlignment
from ktl.generators.base import ImageGenerator, sample_latents
from ktl.prototypes import Prototypes
from ktl.seeds import stream

Distances = Callable[[Tensor], Tensor]


def round_prototypes(round_index: int, classes: int = 10) -> Prototypes:
    """Prototypes that drift from near one another to near the classes' own vectors, as training makes them."""
    share = round_index / 5
    own = share * torch.eye(classes) + (1 - share)
    vectors = own + 0.1 * torch.randn(classes, classes, generator=stream(round_index, "prototypes"))
    return Prototypes(F.normalize(vectors, dim=1), torch.arange(classes), torch.full((classes,), 9))


def test_over_six_rounds_published_leaves_the_latent_distribution_and_robust_does_not(
    builtin: ImageGenerator, mahalanobis: Distances
) -> None:
    """C = 10, one edge: the fault that METHOD's measurements name, and its cure."""
    farthest_fresh = mahalanobis(sample_latents(builtin, 5_000, stream(9, "fresh"))).max()
    published, robust = PublishedAlignment(10, 10, seed=0), RobustAlignment(10, 10, seed=0)
    distances = {"published": [], "robust": []}
    for round_index in range(6):
        prototypes = [round_prototypes(round_index)]
        for name, strategy in (("published", published), ("robust", robust)):
            centroids = strategy.align(prototypes, builtin, per_class=1).centroids
            distances[name].append(float(mahalanobis(centroids).max()))
    assert distances["published"][-1] > 3 * farthest_fresh
    assert max(distances["robust"]) < 1.1 * farthest_fresh


def test_published_is_deterministic_and_keeps_state_between_rounds(builtin: ImageGenerator) -> None:
    def rounds() -> list[Tensor]:
        strategy = PublishedAlignment(10, 10, seed=3)
        return [strategy.align([round_prototypes(1)], builtin, per_class=1).centroids for _ in range(2)]

    first, again = rounds(), rounds()
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1])


def test_several_edges_train_in_batches_and_pool_by_class(builtin: ImageGenerator) -> None:
    edges = [round_prototypes(r) for r in range(5)] * 3  # 150 prototypes: a batch of 100 and one of 50
    aligned = PublishedAlignment(10, 10, seed=0).align(edges, builtin, per_class=3)
    assert aligned.latents.shape == (10, 3, builtin.latent_dim)
    assert torch.equal(aligned.latents[:, 0], aligned.centroids)
    assert torch.isfinite(aligned.latents).all()


def test_offsets_around_a_centroid_are_half_of_fresh_latents(builtin: ImageGenerator) -> None:
    aligned = PublishedAlignment(10, 10, seed=0).align([round_prototypes(2)], builtin, per_class=200)
    offsets = (aligned.latents[:, 1:] - aligned.centroids[:, None]).flatten(0, 1)
    fresh = sample_latents(builtin, 2_000, stream(1, "fresh"))
    assert (offsets.std() / fresh.std(dim=0).mean()).item() == pytest.approx(0.5, abs=0.1)


def test_a_lone_prototype_is_aligned_without_batch_statistics(builtin: ImageGenerator) -> None:
    lone = Prototypes(torch.eye(10)[:1], torch.tensor([0]), torch.tensor([1]))
    aligned = PublishedAlignment(10, 10, seed=0).align([lone], builtin, per_class=1)
    assert aligned.centroids.shape == (1, builtin.latent_dim)
    assert torch.isfinite(aligned.centroids).all()
