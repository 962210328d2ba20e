from __future__ import annotations

import math

import pytest
import torch

from ktl.alignment.mmd import mmd
from ktl.seeds import stream


def test_mmd_of_two_points_is_the_formula() -> None:
    x, y = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    expected = sum(2.0 - 2.0 * math.exp(-25.0 / (2 * a)) for a in (10.0, 15.0, 20.0, 50.0))
    assert mmd(x, y).item() == pytest.approx(expected, rel=1e-5)


def test_mmd_of_a_sample_with_itself_is_zero() -> None:
    x = torch.randn(20, 5, generator=stream(0, "x"))
    assert mmd(x, x).item() == pytest.approx(0.0, abs=1e-5)


def test_mmd_grows_with_the_shift_between_samples() -> None:
    x, y = torch.randn(200, 4, generator=stream(0, "x")), torch.randn(200, 4, generator=stream(0, "y"))
    values = [mmd(x, y + shift).item() for shift in (0.0, 1.0, 2.0, 4.0)]
    assert values == sorted(values)
    assert values[0] < 0.05 < 1.0 < values[3]


def test_far_from_the_target_there_is_no_gradient() -> None:
    """The published recipe's fault: fixed bandwidths see nothing at a distance."""
    x = torch.full((4, 8), 300.0, requires_grad=True)
    mmd(x, torch.randn(4, 8, generator=stream(0, "y"))).backward()
    assert x.grad is not None
    assert x.grad.abs().max().item() < 1e-12
