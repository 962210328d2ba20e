from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.seeds import stream
from ktl.shared_space.space_map import fit_space_map


def pairs(n: int = 200, features: int = 20, dimension: int = 6) -> tuple[Tensor, Tensor]:
    rng = stream(0, "pairs")
    x = torch.randn(n, features, generator=rng) * torch.linspace(0.1, 3, features) + 5
    w = torch.randn(features, dimension, generator=rng)
    return x, 2 + x @ w + torch.randn(n, dimension, generator=rng)


def standardised(values: Tensor) -> Tensor:
    return ((values - values.mean(dim=0)) / values.std(dim=0, unbiased=False)).double()


@pytest.mark.parametrize("freedom", [3.0, 12.0])
def test_the_map_is_the_ridge_regression_that_has_the_freedom_asked_for(freedom: float) -> None:
    x, y = pairs()
    design, targets = standardised(x), standardised(y)
    gram = design.T @ design
    penalties = torch.logspace(-2, 6, 40_000, dtype=torch.float64)
    eigenvalues = torch.linalg.eigvalsh(gram)
    freedoms = (eigenvalues[:, None] / (eigenvalues[:, None] + penalties)).sum(dim=0)
    penalty = penalties[(freedoms - freedom).abs().argmin()]
    weight = torch.linalg.solve(gram + penalty * torch.eye(20), design.T @ targets)
    expected = F.normalize(design @ weight, dim=1).float()
    torch.testing.assert_close(fit_space_map(x, y, freedom)(x), expected, atol=1e-3, rtol=1e-3)


def test_points_are_unit_vectors_and_do_not_change_with_the_units_of_features_or_vectors() -> None:
    x, y = pairs()
    found = fit_space_map(x, y, 8.0)(x)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(200))
    scale, shift = torch.linspace(0.01, 100, 20), torch.linspace(-9, 9, 20)
    other = fit_space_map(x * scale + shift, 7 * y - 3, 8.0)(x * scale + shift)
    torch.testing.assert_close(other, found, atol=1e-3, rtol=1e-3)


def test_features_that_never_vary_play_no_part() -> None:
    x, y = pairs()
    dead = torch.cat([x, torch.full((200, 3), 4.0)], dim=1)
    space_map = fit_space_map(dead, y, 8.0)
    assert torch.equal(space_map.linear.weight[:, 20:], torch.zeros(6, 3))
    dead[:, 20:] = 1e6
    torch.testing.assert_close(space_map(dead), fit_space_map(x, y, 8.0)(x))


def test_directions_that_are_a_metric_keep_the_angles_between_them() -> None:
    x, _ = pairs()
    vectors = x[:, :6] * torch.tensor([9.0, 1, 1, 1, 1, 1]) + 5  # which features tell exactly
    expected = F.normalize(vectors - vectors.mean(dim=0), dim=1)
    torch.testing.assert_close(fit_space_map(x, vectors, 20.0, metric=True)(x), expected, atol=1e-4, rtol=1e-4)
    assert (fit_space_map(x, vectors, 20.0)(x) - expected).abs().max().item() > 0.3


def test_fewer_features_than_freedom_are_used_as_they_are() -> None:
    x, y = pairs()
    design, targets = standardised(x), standardised(y)
    least_squares = torch.linalg.lstsq(design, targets).solution
    torch.testing.assert_close(
        fit_space_map(x, y, 64.0)(x), F.normalize(design @ least_squares, dim=1).float(), atol=1e-4, rtol=1e-4
    )
