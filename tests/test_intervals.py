"""How far a measured accuracy, or the difference of two, can be trusted."""

from __future__ import annotations

import numpy as np
import pytest

from ktl.formatting import in_counts, in_interval
from ktl.intervals import newcombe_interval, wilson_interval


def answers(both: int, only_first: int, only_second: int, neither: int) -> tuple[list[bool], list[bool]]:
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return first, second


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [  # Newcombe 1998, table II, method 10
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((36, 14, 0, 0), 0.1528, 0.4167),
        ((54, 0, 0, 0), -0.0664, 0.0664),
    ],
)
def test_the_interval_of_a_paired_difference_is_the_published_one(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    assert newcombe_interval(*answers(*table)) == pytest.approx((low, high), abs=1e-4)


def test_it_mirrors_when_the_two_change_places() -> None:
    first, second = answers(50, 9, 3, 20)
    low, high = newcombe_interval(first, second)
    assert newcombe_interval(second, first) == pytest.approx((-high, -low))
    assert low < 6 / 82 < high


def test_models_that_err_alike_are_told_apart_more_finely() -> None:
    alike, unlike = newcombe_interval(*answers(50, 6, 0, 44)), newcombe_interval(*answers(28, 28, 22, 22))
    assert alike[1] - alike[0] < 0.6 * (unlike[1] - unlike[0])


def test_it_holds_the_truth_about_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        common = rng.random(40) < 0.6
        first, second = common | (rng.random(40) < 0.5), common | (rng.random(40) < 0.25)
        low, high = newcombe_interval(first.tolist(), second.tolist())
        held += low <= 0.4 * 0.25 <= high
    assert 0.93 <= held / 400 <= 1.0


def test_counts_are_written_with_their_interval() -> None:
    assert in_counts(37, 40) == "37 of 40 right, 92.5% (95% interval 80.1 to 97.4)"
    assert in_counts(4, 4) == "4 of 4 right, 100.0% (95% interval 51.0 to 100.0)"
    assert in_interval((-0.012, 0.103), "+") == "-1.2 to +10.3"
    assert wilson_interval(37, 40) == pytest.approx((0.8014, 0.9742), abs=1e-3)
