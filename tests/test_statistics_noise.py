from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ktl.class_statistics import ClassStatistics, class_statistics
from ktl.errors import UsageError
from ktl.seeds import stream
from ktl.statistics_noise import SHARES, _nearest_moment, noise_deviation, noised
from ktl.wire import decode_statistics, encode_statistics


def small(images: int = 6, dimension: int = 8) -> ClassStatistics:
    points = F.normalize(torch.randn(images, dimension, generator=stream(0, "points")), dim=1)
    return class_statistics(points, torch.arange(images) % 3)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.1, 1e-5), (1.0, 1e-5), (8.0, 1e-5), (1.0, 1e-3), (30.0, 1e-6)])
def test_two_densities_that_far_apart_leak_just_delta(epsilon: float, delta: float) -> None:
    """Delta is the integral of max(0, p - e^epsilon q), here summed over a fine grid."""
    deviation = noise_deviation(epsilon, delta)
    x, step = np.linspace(-40 * deviation, 40 * deviation, 2_000_001, retstep=True)
    with_image = np.exp(-((x - 1) ** 2) / (2 * deviation**2))
    without = np.exp(epsilon - x**2 / (2 * deviation**2))
    leaked = np.maximum(with_image - without, 0).sum() * step / (deviation * math.sqrt(2 * math.pi))
    assert leaked == pytest.approx(delta, rel=1e-3)


def test_the_deviation_is_the_known_one_and_below_the_classical_bound() -> None:
    assert noise_deviation(1.0, 1e-5) == pytest.approx(3.7306, abs=1e-4)
    assert noise_deviation(0.5, 1e-5) < math.sqrt(2 * math.log(1.25 / 1e-5)) / 0.5
    assert noise_deviation(1e6) == pytest.approx(1 / math.sqrt(2e6), rel=0.01)
    # where epsilon is nothing, delta alone allows for as much as the distributions may differ
    assert noise_deviation(1e-9) == pytest.approx(1 / (1e-5 * math.sqrt(2 * math.pi)), rel=0.01)


@pytest.mark.parametrize(
    ("epsilon", "delta", "releases", "deviation"),
    [(8.0, 1e-5, 5, 1.34215), (1.0, 1e-5, 5, 8.34195), (1.0, 1e-6, 20, 18.89334)],
)
def test_several_releases_share_the_epsilon(epsilon: float, delta: float, releases: int, deviation: float) -> None:
    """The accountant of dp-accounting 0.6 (PLD, steps of 1e-3) finds these epsilons for these deviations, to 1e-10."""
    assert noise_deviation(epsilon, delta, releases) == pytest.approx(deviation, abs=1e-5)


def test_one_image_moves_all_numbers_by_no_more_than_the_noise_is_made_for() -> None:
    """Each divided by its noise's share: 1, as an image's vector and its outer product have length 1."""
    one = class_statistics(torch.tensor([[0.6, 0.0, -0.8]]), torch.tensor([0]))
    parts = {"sums": one.sums, "counts": one.counts.float(), "moment": one.moment}
    moved = sum(SHARES[name] * float(part.square().sum()) for name, part in parts.items())
    assert moved == pytest.approx(1.0)


def test_noise_has_no_bias_and_the_stated_deviations_where_nothing_needs_repair() -> None:
    """Ten thousand images of each class: no mean is near length 1, no eigenvalue near 0."""
    dimension, images = 4, 10_000
    sums = torch.tensor([[0.3, 0.1, 0.0, -0.2], [0.0, 0.4, -0.3, 0.1]]) * images
    moment = torch.diag(torch.tensor([0.4, 0.3, 0.2, 0.1])) * 2 * images
    true = ClassStatistics(sums, torch.tensor([0, 2]), torch.tensor([images, images]), moment)
    rng, draws = stream(0, "noise"), 2_000
    found = [noised(true, 1.0, rng) for _ in range(draws)]
    deviation = noise_deviation(1.0)
    noise = {
        "sums": torch.stack([each.sums - true.sums for each in found]),
        "counts": torch.stack([(each.counts - true.counts).float() for each in found]),
    }
    for name, drawn in noise.items():
        expected = deviation / math.sqrt(SHARES[name])
        assert drawn.mean(dim=0).abs().max() < 4 * expected / math.sqrt(draws)
        assert drawn.std(dim=0).flatten().tolist() == pytest.approx([expected] * drawn[0].numel(), rel=0.08)
    off_diagonal = torch.stack([each.moment[0, 1:] for each in found])
    expected = deviation / math.sqrt(2 * SHARES["moment"])  # symmetric: the same noise is there twice
    assert off_diagonal.mean(dim=0).abs().max() < 4 * expected / math.sqrt(draws)
    assert off_diagonal.std(dim=0).tolist() == pytest.approx([expected] * (dimension - 1), rel=0.08)
    mean_diagonal = torch.stack([each.moment.diagonal() - true.moment.diagonal() for each in found]).mean(dim=0)
    assert mean_diagonal.abs().max() < 4 * 2 * expected / math.sqrt(draws)


@pytest.mark.parametrize("epsilon", [1e-9, 0.1, 1.0, 8.0, 1e9])
def test_what_comes_out_is_valid_on_both_ends_of_the_wire(epsilon: float) -> None:
    for seed in range(5):
        found = noised(small(), epsilon, stream(seed, "noise"))
        found.validate(3)
        assert found.classes.tolist() == [0, 1, 2]
        assert found.means.norm(dim=1).max() <= 1 + 1e-5
        assert torch.equal(found.moment, found.moment.T)
        eigenvalues = torch.linalg.eigvalsh(found.moment.double())
        assert eigenvalues.min() > -1e-5 * eigenvalues.max()
        assert float(found.moment.trace()) == pytest.approx(int(found.counts.sum()), rel=1e-5)
        decode_statistics(encode_statistics(found), 3, 8)


def test_hardly_any_noise_changes_hardly_anything_and_much_leaves_nothing() -> None:
    true = small()
    same, none = (noised(true, epsilon, stream(0, "noise")) for epsilon in (1e9, 1e-9))
    assert same.counts.tolist() == true.counts.tolist()
    torch.testing.assert_close(same.sums, true.sums, atol=1e-3, rtol=0)
    torch.testing.assert_close(same.moment, true.moment, atol=1e-3, rtol=0)
    assert max(none.counts.tolist()) > 1000
    other = replace(true, sums=-true.sums)
    torch.testing.assert_close(noised(other, 1e-9, stream(0, "noise")).means, none.means, atol=1e-3, rtol=0)


def test_the_moment_is_the_nearest_one_of_all_that_are_valid() -> None:
    """Towards any other valid matrix, the distance to the noisy one grows."""
    noisy = torch.randn(5, 5, dtype=torch.float64, generator=stream(0, "noisy"))
    noisy = noisy + noisy.T
    found = _nearest_moment(noisy, 6.0)
    for seed in range(20):
        square = torch.randn(5, 5, dtype=torch.float64, generator=stream(seed, "other"))
        other = square @ square.T
        other *= 6.0 / other.trace()
        assert ((noisy - found) * (other - found)).sum() < 1e-9


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan])
def test_an_epsilon_that_means_nothing_is_refused(epsilon: float) -> None:
    with pytest.raises(UsageError, match=r"epsilon is .*: give a number above 0"):
        noised(small(), epsilon, stream(0, "noise"))


@pytest.mark.parametrize("delta", [0.0, 1.0])
def test_a_delta_that_means_nothing_is_refused(delta: float) -> None:
    with pytest.raises(UsageError, match=r"delta is .*: give a number between 0 and 1"):
        noised(small(), 1.0, stream(0, "noise"), delta=delta)
