"""Noise chooses members of a pool."""

from __future__ import annotations

import torch
from torch import Tensor

from ktl.generators.pool.members import Members
from ktl.seeds import stream


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=stream(seed, "normal"))


def test_each_member_is_as_likely_as_any_other() -> None:
    """Of 11, which no tree halves evenly."""
    members = Members(normal(11, 3))
    assert members.noise_dim == 4
    alone = torch.cat([members.chosen(noise[None]) for noise in normal(1100, 4, seed=1)])
    counts = alone.bincount(minlength=11)
    assert ((counts - 100) ** 2 / 100).sum() < 29.6  # chi-squared of 10 degrees of freedom: one in a thousand


def test_none_comes_again_before_all_have_come_once() -> None:
    members = Members(normal(11, 3))
    chosen = members.chosen(normal(27, 4, seed=1))
    for start in (0, 11):
        assert sorted(chosen[start : start + 11].tolist()) == list(range(11))
    assert len(set(chosen[22:].tolist())) == 5
    assert torch.equal(chosen, members.chosen(normal(27, 4, seed=1)))
    assert members.chosen(normal(0, 4)).shape == (0,)


def test_like_noise_chooses_like_members() -> None:
    embeddings = normal(1000, 4)
    members = Members(embeddings)
    noise = normal(200, members.noise_dim, seed=1)
    near = 0.95**0.5 * noise + 0.05**0.5 * normal(200, members.noise_dim, seed=2)
    first, second = (embeddings[members.chosen(each)] for each in (noise, near))
    between = (first - second).norm(dim=1).mean()
    at_random = (first - second.roll(1, dims=0)).norm(dim=1).mean()
    assert between < 0.6 * at_random


def test_two_are_enough_and_equal_ones_no_trouble() -> None:
    assert sorted(Members(torch.zeros(2, 5)).chosen(normal(2, 1)).tolist()) == [0, 1]
