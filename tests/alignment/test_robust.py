from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.alignment.robust import RobustAlignment, prototype_noise, spread_noise
from ktl.generators.base import ImageGenerator, sample_latents
from ktl.prototypes import Prototypes, class_sums
from ktl.seeds import stream

Distances = Callable[[Tensor], Tensor]


def prototypes(classes: int, seed: int = 0, noise: float = 0.3) -> Prototypes:
    vectors = torch.eye(classes) + noise * torch.randn(classes, classes, generator=stream(seed, "prototypes"))
    return Prototypes(F.normalize(vectors, dim=1), torch.arange(classes), torch.full((classes,), 2))


def largest_gap(a: Tensor, b: Tensor) -> float:
    """Kolmogorov-Smirnov statistic: the largest gap between two samples' distribution functions."""
    points = torch.cat([a, b]).sort().values
    below_a = torch.searchsorted(a.sort().values, points, right=True) / len(a)
    below_b = torch.searchsorted(b.sort().values, points, right=True) / len(b)
    return float((below_a - below_b).abs().max())


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
@pytest.mark.parametrize(("classes", "edges"), [(1000, 1), (300, 5), (300, 200)])
def test_centroids_are_distributed_like_fresh_latents(
    classes: int, edges: int, noise: float, builtin: ImageGenerator, mahalanobis: Distances
) -> None:
    pooled = [prototypes(classes, seed, noise) for seed in range(edges)]
    aligned = RobustAlignment(classes, classes, seed=1).align(pooled, builtin, per_class=1)
    fresh = sample_latents(builtin, 2_000, stream(9, "fresh"))
    # the 0.1% point of the statistic for two samples of one distribution
    critical = 1.95 * ((classes + 2_000) / (classes * 2_000)) ** 0.5
    assert largest_gap(mahalanobis(aligned.centroids), mahalanobis(fresh)) < critical


def test_latents_around_the_centroids_are_distributed_like_fresh_ones(
    builtin: ImageGenerator, mahalanobis: Distances
) -> None:
    aligned = RobustAlignment(100, 100, seed=1).align([prototypes(100)], builtin, per_class=20)
    fresh = sample_latents(builtin, 2_000, stream(9, "fresh"))
    gap = largest_gap(mahalanobis(aligned.latents.flatten(0, 1)), mahalanobis(fresh))
    assert gap < 0.1  # latents of a class depend on each other, so the bound for independent ones does not hold


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_few_classes_are_as_valid_as_many(classes: int, builtin: ImageGenerator, mahalanobis: Distances) -> None:
    fresh = mahalanobis(sample_latents(builtin, 2_000, stream(9, "fresh")))
    for seed in range(20):
        aligned = RobustAlignment(classes, classes, seed=seed).align([prototypes(classes, seed)], builtin, per_class=1)
        distances = mahalanobis(aligned.centroids)
        assert fresh.min() * 0.9 < distances.min()
        assert distances.max() < fresh.max() * 1.1


def test_the_same_prototypes_and_seed_give_the_same_latents(builtin: ImageGenerator) -> None:
    first, again = (RobustAlignment(10, 10, seed=5).align([prototypes(10)], builtin, per_class=4) for _ in range(2))
    other = RobustAlignment(10, 10, seed=6).align([prototypes(10)], builtin, per_class=4)
    assert torch.equal(first.latents, again.latents)
    assert not torch.equal(first.latents, other.latents)


def test_only_sums_and_counts_matter(builtin: ImageGenerator) -> None:
    edges = [prototypes(6, seed) for seed in range(4)]
    sums, counts = class_sums(edges, 6)
    pooled = Prototypes((sums / counts[:, None]).float(), torch.arange(6), counts)
    apart = RobustAlignment(6, 6, seed=0).align(edges, builtin, per_class=2)
    together = RobustAlignment(6, 6, seed=0).align([pooled], builtin, per_class=2)
    torch.testing.assert_close(apart.latents, together.latents, atol=1e-3, rtol=0)


def test_similar_classes_get_similar_noise() -> None:
    means = torch.randn(8, 32, generator=stream(0, "means"))
    means[1] = means[0] + 0.05 * torch.randn(32, generator=stream(1, "means"))
    noise = F.normalize(prototype_noise(means, 128, seed=0), dim=1)
    cosines = noise @ noise.T
    assert cosines[0, 1] > 0.8
    assert cosines[0, 2:].max() < 0.6


def test_one_dominant_direction_does_not_put_all_classes_on_a_line() -> None:
    means = torch.randn(10, 10, generator=stream(0, "means"))
    means[:, 0] *= 50.0
    noise = F.normalize(prototype_noise(means, 128, seed=0), dim=1)
    off_diagonal = (noise @ noise.T)[~torch.eye(10, dtype=torch.bool)]
    raw = F.normalize(means - means.mean(dim=0), dim=1)
    raw_off_diagonal = (raw @ raw.T)[~torch.eye(10, dtype=torch.bool)]
    assert off_diagonal.abs().median() < 0.9 < raw_off_diagonal.abs().median()


def test_prototypes_that_say_nothing_become_fresh_draws() -> None:
    noise = prototype_noise(torch.ones(50, 50), 128, seed=0)
    cosines = F.normalize(noise, dim=1) @ F.normalize(noise, dim=1).T
    assert torch.isfinite(noise).all()
    assert cosines[~torch.eye(50, dtype=torch.bool)].abs().max() < 0.5


def test_spread_keeps_the_variance_and_starts_with_the_centre() -> None:
    centre = torch.randn(30, 64, generator=stream(0, "centre"))
    spread = spread_noise(centre, torch.arange(30), 40, seed=0, spread=0.8)
    assert torch.equal(spread[:, 0], centre)
    assert spread[:, 1:].std().item() == pytest.approx(1.0, abs=0.02)
    cosines = F.cosine_similarity(spread[:, 1:], centre[:, None], dim=2)
    assert cosines.mean().item() == pytest.approx((1 - 0.8) ** 0.5, abs=0.02)


def test_a_classs_latents_do_not_depend_on_which_others_are_present(builtin: ImageGenerator) -> None:
    centre = torch.randn(3, 64, generator=stream(0, "centre"))
    every = spread_noise(centre, torch.tensor([0, 4, 7]), 5, seed=0, spread=0.8)
    alone = spread_noise(centre[1:2], torch.tensor([4]), 5, seed=0, spread=0.8)
    assert torch.equal(every[1], alone[0])


def test_absent_classes_get_no_latents(builtin: ImageGenerator) -> None:
    some = Prototypes(torch.eye(10)[[2, 5]], torch.tensor([2, 5]), torch.tensor([1, 3]))
    aligned = RobustAlignment(10, 10, seed=0).align([some], builtin, per_class=3)
    assert aligned.classes.tolist() == [2, 5]
    assert aligned.latents.shape == (2, 3, builtin.latent_dim)


def test_sixteen_thousand_latent_dimensions_are_no_obstacle() -> None:
    noise = prototype_noise(torch.randn(100, 100, generator=stream(0, "means")), 16_384, seed=0)
    assert noise.shape == (100, 16_384)
    torch.testing.assert_close(noise.norm(dim=1), torch.full((100,), 128.0), atol=3.0, rtol=0)
