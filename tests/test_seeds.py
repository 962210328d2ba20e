from __future__ import annotations

import pytest
import torch

from ktl.seeds import derive, initialising, stream


@pytest.mark.parametrize(
    ("seed", "path", "expected"),
    [
        (0, ("shots", 3), 7628927242699095441),
        (0, (), 4761921975702974394),
        (2**31 - 1, ("x",), 6494986206174893853),
    ],
)
def test_a_derived_seed_is_the_same_on_every_machine(seed: int, path: tuple[str | int, ...], expected: int) -> None:
    assert derive(seed, *path) == expected


def test_derived_seeds_differ_and_fit_into_63_bits() -> None:
    seeds = {derive(seed, name, part) for seed in range(20) for name in ("shots", "task") for part in range(20)}
    assert len(seeds) == 800
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_is_named_by_seed_and_path() -> None:
    drawn = torch.rand(4, generator=stream(1, "views", 2))
    assert torch.equal(drawn, torch.rand(4, generator=stream(1, "views", 2)))
    assert not torch.equal(drawn, torch.rand(4, generator=stream(1, "views", 3)))
    assert not torch.equal(drawn, torch.rand(4, generator=stream(2, "views", 2)))


def test_initialising_sets_weights_by_name_and_nothing_outside() -> None:
    torch.manual_seed(0)
    expected_after = torch.rand(3)
    torch.manual_seed(0)
    with initialising(5, "model"):
        first = torch.nn.Linear(3, 3).weight
    assert torch.equal(torch.rand(3), expected_after)
    with initialising(5, "model"):
        assert torch.equal(torch.nn.Linear(3, 3).weight, first)
    with initialising(6, "model"):
        assert not torch.equal(torch.nn.Linear(3, 3).weight, first)


def test_initialising_restores_the_outside_after_an_error() -> None:
    torch.manual_seed(0)
    expected_after = torch.rand(3)
    torch.manual_seed(0)
    with pytest.raises(KeyError), initialising(5, "model"):
        raise KeyError
    assert torch.equal(torch.rand(3), expected_after)
