from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ktl.errors import DataError
from ktl.prototypes import Prototypes, class_prototypes, class_sums
from ktl.seeds import stream


def unit_rows(n: int, dimension: int) -> torch.Tensor:
    return F.normalize(torch.randn(n, dimension, generator=stream(0, "rows")), dim=1)


def test_a_prototype_is_the_normalised_mean_of_its_class() -> None:
    embeddings, labels = unit_rows(9, 5), torch.tensor([3, 0, 3, 3, 0, 4, 3, 0, 3])
    found = class_prototypes(embeddings, labels)
    assert found.classes.tolist() == [0, 3, 4]
    assert found.counts.tolist() == [3, 5, 1]
    for row, label in enumerate((0, 3, 4)):
        mean = torch.stack([e for e, y in zip(embeddings, labels, strict=True) if y == label]).mean(dim=0)
        torch.testing.assert_close(found.vectors[row], mean / mean.norm())
    found.validate(5)


def test_half_precision_embeddings_give_float32_prototypes() -> None:
    found = class_prototypes(unit_rows(4, 3).half(), torch.tensor([0, 0, 1, 1]))
    assert found.vectors.dtype == torch.float32


def test_pooling_edges_weighs_each_by_its_samples() -> None:
    vectors = unit_rows(4, 3)
    first = Prototypes(vectors[:2], torch.tensor([0, 2]), torch.tensor([1, 10]))
    second = Prototypes(vectors[2:], torch.tensor([2, 1]), torch.tensor([5, 2]))
    sums, counts = class_sums([first, second], num_classes=4)
    expected = torch.stack([vectors[0], 2 * vectors[3], 10 * vectors[1] + 5 * vectors[2], torch.zeros(3)])
    torch.testing.assert_close(sums, expected.double())
    assert counts.tolist() == [1, 2, 15, 0]


def test_sums_of_all_edges_are_the_sum_of_each_edges_sums() -> None:
    edges = [
        Prototypes(unit_rows(2, 3), torch.tensor([0, 1]), torch.tensor([3, 4])),
        Prototypes(unit_rows(2, 3).flip(0), torch.tensor([1, 2]), torch.tensor([1, 9])),
    ]
    sums, counts = class_sums(edges, num_classes=3)
    apart = [class_sums([edge], num_classes=3) for edge in edges]
    torch.testing.assert_close(sums, apart[0][0] + apart[1][0])
    assert torch.equal(counts, apart[0][1] + apart[1][1])


GOOD = unit_rows(2, 3)
BAD_ROW = torch.tensor([0.0, float("nan"), 1.0])


@pytest.mark.parametrize(
    ("vectors", "classes", "counts", "reason"),
    [
        (GOOD[0], [0, 1], [1, 1], "prototypes need vectors"),
        (GOOD, [[0], [1]], [1, 1], "prototypes need vectors"),
        (GOOD, [0, 1], [[1, 1]], "prototypes need vectors"),
        (GOOD, [0], [1], "prototypes disagree: 2 vectors, 1 classes, 1 counts"),
        (GOOD, [0, 1], [1], "prototypes disagree: 2 vectors, 2 classes, 1 counts"),
        (GOOD[:0], [], [], "prototypes disagree: 0 vectors, 0 classes, 0 counts"),
        (torch.stack([GOOD[0], BAD_ROW]), [2, 1], [1, 1], "the prototype of class 1 is not finite"),
        (GOOD * torch.tensor([[1.0], [3.0]]), [2, 1], [1, 1], "the prototype of class 1 has length 3, not 1"),
        (GOOD, [0, -2], [1, 1], "class index -2 is outside 0..2"),
        (GOOD, [3, 0], [1, 1], "class index 3 is outside 0..2"),
        (GOOD, [2, 2], [1, 1], "class index 2 appears twice"),
        (GOOD, [0, 1], [1, 0], "a class of 0 samples has no prototype"),
    ],
)
def test_wrong_prototypes_are_refused(
    vectors: torch.Tensor, classes: list[int], counts: list[int], reason: str
) -> None:
    prototypes = Prototypes(vectors, torch.tensor(classes, dtype=torch.int64), torch.tensor(counts, dtype=torch.int64))
    with pytest.raises(DataError, match=reason):
        prototypes.validate(3)
