"""The comparison that the privacy table rests on, and who gets which images."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace

import pytest
import torch

from ktl.seeds import stream

from .conftest import Names


@pytest.fixture
def privacy(names_in: Names) -> SimpleNamespace:
    return names_in("privacy")


def test_a_share_is_the_mean_over_all_choices_of_as_many_others(privacy: SimpleNamespace) -> None:
    own, others = torch.tensor([4.0, 3.0]), torch.tensor([1.0, 3.0, 5.0, 3.0, 8.0, 9.0])
    nearest = [min(chosen) for chosen in combinations(others.tolist(), 2)]
    expected = sum(1.0 if n > 3 else 0.5 if n == 3 else 0.0 for n in nearest) / len(nearest)
    assert privacy.nearer(own, others) == pytest.approx(expected)


def test_distances_that_say_nothing_give_half(privacy: SimpleNamespace) -> None:
    rng = stream(0, "distances")
    for shots in (1, 2, 9):
        shares = [privacy.nearer(torch.rand(shots, generator=rng), torch.rand(40, generator=rng)) for _ in range(4000)]
        assert sum(shares) / len(shares) == pytest.approx(0.5, abs=0.02)


def test_no_two_edges_have_an_image_in_common_and_the_others_are_nobodys(privacy: SimpleNamespace) -> None:
    data = privacy.dealt("fashion-mnist", 0)
    own = [client.train.tolist() for client in data.clients]
    others = data.clients[0].test.tolist()
    assert [len(share) for share in own] == [10 * shots for shots in privacy.SHOTS]
    assert sorted(sum(own, others)) == list(range(len(data.labels)))
    assert data.labels[data.clients[-1].train].bincount().tolist() == [9] * 10


def test_the_tables_give_means_over_seeds_of_each_data_set(privacy: SimpleNamespace) -> None:
    rows = [
        {
            "source": "fashion-mnist",
            "seed": seed,
            "nearer": {"own, 2": {"pixels": 60.0 + seed, "features": 50.0}},
            "accuracy": {"alone": 40.0},
        }
        for seed in (0, 2)
    ]
    lines = privacy.table(rows).splitlines()
    assert lines[0] == "fashion-mnist, seeds 0, 2"
    assert "| own, 2 | 61.00 ± 12.71 | 50.00 ± 0.00 |  |" in lines
    assert "| alone | 40.00 ± 0.00 |" in lines
