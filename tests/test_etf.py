from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from ktl.errors import UsageError
from ktl.etf import arcface_loss, simplex_etf
from ktl.seeds import stream


@pytest.mark.parametrize(("classes", "dimension"), [(2, 2), (3, 7), (10, 10), (100, 100), (1000, 1000)])
def test_etf_columns_are_unit_and_equally_far_apart(classes: int, dimension: int) -> None:
    frame = simplex_etf(classes, dimension, stream(0, "etf"))
    cosines = frame.T @ frame
    expected = torch.full((classes, classes), -1.0 / (classes - 1)).fill_diagonal_(1.0)
    assert frame.shape == (dimension, classes)
    torch.testing.assert_close(cosines, expected, atol=1e-5, rtol=0)


def test_etf_is_a_function_of_its_seed() -> None:
    assert torch.equal(simplex_etf(10, 10, stream(3, "etf")), simplex_etf(10, 10, stream(3, "etf")))
    assert not torch.equal(simplex_etf(10, 10, stream(3, "etf")), simplex_etf(10, 10, stream(4, "etf")))


@pytest.mark.parametrize(("classes", "dimension"), [(1, 5), (0, 0), (6, 5)])
def test_impossible_etf_is_refused(classes: int, dimension: int) -> None:
    with pytest.raises(UsageError, match=f"an ETF of {classes} classes in {dimension} dimensions"):
        simplex_etf(classes, dimension, stream(0, "etf"))


def test_arcface_without_margin_is_cross_entropy_of_scaled_cosines() -> None:
    cosines = torch.rand(8, 5, generator=stream(0, "cosines")) * 1.8 - 0.9
    labels = torch.arange(8) % 5
    expected = F.cross_entropy(30.0 * cosines, labels)
    torch.testing.assert_close(arcface_loss(cosines, labels, margin=0.0, scale=30.0), expected)


def test_arcface_adds_the_margin_to_the_true_angle_only() -> None:
    angle, margin, scale = 0.7, 0.5, 64.0
    cosines = torch.tensor([[math.cos(angle), 0.3]])
    gap = scale * (math.cos(angle + margin) - 0.3)
    expected = math.log1p(math.exp(-gap))
    assert arcface_loss(cosines, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-4)
    assert scale == 64.0


def test_arcface_falls_steadily_as_the_true_angle_closes() -> None:
    true = torch.linspace(-1.0, 1.0, 400)
    cosines = torch.stack([true, torch.zeros(400)], dim=1)
    losses = [arcface_loss(row[None], torch.tensor([0])).item() for row in cosines]
    # past pi the linear branch takes over: no step up where the branches meet
    assert all(later <= earlier + 1e-4 for earlier, later in itertools.pairwise(losses))


@pytest.mark.parametrize("cosine", [-1.0, 1.0])
def test_arcface_gradient_is_finite_at_the_ends(cosine: float) -> None:
    cosines = torch.tensor([[cosine, 0.0]], requires_grad=True)
    arcface_loss(cosines, torch.tensor([0])).backward()
    assert cosines.grad is not None
    assert torch.isfinite(cosines.grad).all()
