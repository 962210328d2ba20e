"""The comparison that the privacy table rests on, and who gets which images."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from benchmarks.federation import curious_cloud, privacy
from ktl.seeds import stream


def test_a_share_is_the_mean_over_all_choices_of_as_many_others() -> None:
    own, others = torch.tensor([4.0, 3.0]), torch.tensor([1.0, 3.0, 5.0, 3.0, 8.0, 9.0])
    nearest = [min(chosen) for chosen in combinations(others.tolist(), 2)]
    expected = sum(1.0 if n > 3 else 0.5 if n == 3 else 0.0 for n in nearest) / len(nearest)
    assert curious_cloud.nearer(own, others) == pytest.approx(expected)


def test_distances_that_say_nothing_give_half() -> None:
    rng = stream(0, "distances")
    for shots in (1, 2, 9):
        shares = [
            curious_cloud.nearer(torch.rand(shots, generator=rng), torch.rand(40, generator=rng)) for _ in range(4000)
        ]
        assert sum(shares) / len(shares) == pytest.approx(0.5, abs=0.02)


def test_no_two_edges_have_an_image_in_common_and_the_others_are_nobodys() -> None:
    data = curious_cloud.dealt("fashion-mnist", 0)
    own = [client.train.tolist() for client in data.clients]
    others = data.clients[0].test.tolist()
    assert [len(share) for share in own] == [10 * shots for shots in curious_cloud.SHOTS]
    assert sorted(sum(own, others)) == list(range(len(data.labels)))
    assert data.labels[data.clients[-1].train].bincount().tolist() == [9] * 10


def test_the_tables_give_means_over_seeds_of_each_data_set() -> None:
    rows = [
        {
            "source": "fashion-mnist",
            "seed": seed,
            "nearer": {guess: {"pixels": 60.0 + seed, "features": 50.0} for guess in privacy.guesses()},
            "accuracy": dict.fromkeys(privacy.PREDICTED_BY, 40.0),
        }
        for seed in (0, 2)
    ]
    nearer = privacy.TABLES["nearer"](rows).splitlines()
    own = "an edge's own statistics, 2 images per class"
    assert f"| fashion-mnist | {own} | 2 | 61.00 ± 12.71 | 50.00 ± 0.00 |  |" in nearer
    assert len(nearer) == 2 + 18
    accuracy = privacy.TABLES["accuracy"](rows).splitlines()
    assert "| fashion-mnist | their own classifier alone | 2 | 40.00 ± 0.00 |" in accuracy
