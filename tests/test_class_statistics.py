from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ktl.class_statistics import (
    MAX_ARCHITECTURES,
    UNSAID,
    ClassStatistics,
    architecture_of,
    class_statistics,
    pooled,
    pooled_apart,
)
from ktl.errors import DataError
from ktl.seeds import stream


def unit_rows(n: int, dimension: int = 3, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(n, dimension, generator=stream(seed, "rows")), dim=1)


def test_statistics_are_sums_counts_and_the_second_moment() -> None:
    points, labels = unit_rows(5), torch.tensor([2, 0, 2, 2, 0])
    found = class_statistics(points, labels)
    assert found.classes.tolist() == [0, 2]
    assert found.counts.tolist() == [2, 3]
    torch.testing.assert_close(found.sums, torch.stack([points[[1, 4]].sum(dim=0), points[[0, 2, 3]].sum(dim=0)]))
    torch.testing.assert_close(found.means[1], points[[0, 2, 3]].mean(dim=0))
    torch.testing.assert_close(found.moment, sum((torch.outer(p, p) for p in points), torch.zeros(3, 3)))
    found.validate(3)


def test_the_statistics_of_several_edges_add_up_to_those_of_all_their_images() -> None:
    points, labels = unit_rows(12), torch.tensor([0, 1, 3, 3, 1, 1, 0, 4, 4, 3, 0, 1])
    parts = [class_statistics(points[part], labels[part]) for part in (slice(0, 5), slice(5, 6), slice(6, 12))]
    found, expected = pooled(parts), class_statistics(points, labels)
    assert found.classes.tolist() == [0, 1, 3, 4]
    assert found.counts.tolist() == expected.counts.tolist() == [3, 4, 3, 2]
    torch.testing.assert_close(found.sums, expected.sums)
    torch.testing.assert_close(found.moment, expected.moment)


def test_pooling_one_part_changes_nothing() -> None:
    part = class_statistics(unit_rows(4), torch.tensor([5, 5, 1, 1]))
    found = pooled([part])
    assert found.classes.tolist() == [1, 5]
    torch.testing.assert_close(found.sums, part.sums)


def test_edges_of_one_architecture_are_pooled_apart_from_others() -> None:
    models = ["b", "a", "b", "c", "a", "b"]
    parts = [
        replace(class_statistics(unit_rows(2, seed=i), torch.tensor([0, i % 2])), architecture=architecture_of(model))
        for i, model in enumerate(models)
    ]
    found = {part.architecture: part for part in pooled_apart(parts)}
    assert [*found] == sorted({architecture_of(model) for model in models})
    for model in "abc":
        expected = pooled([part for part, of in zip(parts, models, strict=True) if of == model])
        assert torch.equal(found[architecture_of(model)].sums, expected.sums)
        assert torch.equal(found[architecture_of(model)].moment, expected.moment)


def test_the_fewest_edges_of_many_architectures_are_pooled_together() -> None:
    models = [*range(18), 0, 3, 17]
    parts = [
        replace(class_statistics(unit_rows(2, seed=i), torch.tensor([0, 1])), architecture=architecture_of(str(model)))
        for i, model in enumerate(models)
    ]
    found = {part.architecture: int(part.counts.sum()) for part in pooled_apart(parts)}
    assert len(found) == MAX_ARCHITECTURES
    assert found[UNSAID] == 6
    assert sum(found.values()) == 2 * len(models)
    assert [found[architecture_of(str(model))] for model in (0, 3, 17)] == [4, 4, 4]


VALID = class_statistics(unit_rows(4), torch.tensor([0, 0, 1, 1]))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"sums": VALID.sums[:, 0]}, "need sums"),
        ({"sums": VALID.sums[:1]}, "1 sums, 2 classes, 2 counts"),
        ({"moment": torch.eye(4)}, r"the moment is \(4, 4\): expected \(3, 3\)"),
        ({"classes": torch.tensor([0, 2])}, "class index 2 is outside 0..1"),
        ({"classes": torch.tensor([1, 1])}, "class index 1 appears twice"),
        ({"counts": torch.tensor([2, 0])}, "a class of 0 images"),
        ({"sums": VALID.sums * torch.tensor([[1.0], [torch.nan]])}, "not finite"),
        ({"moment": VALID.moment * torch.inf}, "not finite"),
        ({"sums": torch.full((2, 3), 2.0)}, "the mean of class 0 has length 1.73, more than 1"),
        ({"moment": 3 * VALID.moment}, "the moment's trace is 12 where 4 unit vectors make 4"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, torch.Tensor], reason: str) -> None:
    broken: ClassStatistics = replace(VALID, **changed)
    with pytest.raises(DataError, match=reason):
        broken.validate(2)
