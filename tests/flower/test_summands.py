"""Class statistics as vectors: sums of vectors are those of statistics."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("flwr", reason="needs the extra ktl[flower]")

from ktl.class_statistics import ClassStatistics, architecture_of, class_statistics, pooled
from ktl.errors import DataError, WireError
from ktl.flower.summands import statistics_in, vector_of


def statistics_of(labels: list[int], seed: int) -> ClassStatistics:
    points = F.normalize(torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(seed)))
    return class_statistics(points, torch.tensor(labels))


def test_the_sum_of_vectors_is_that_of_statistics() -> None:
    parts = [statistics_of([0, 0, 3], 0), statistics_of([3, 1], 1)]
    total = sum(vector_of(part, 5) for part in parts)
    found, expected = statistics_in(total, 5, 6, architecture_of("cnn4")), pooled(parts)
    assert found.classes.tolist() == [0, 1, 3]
    assert found.counts.tolist() == [2, 1, 2]
    assert torch.allclose(found.sums, expected.sums, atol=1e-6)
    assert torch.allclose(found.moment, expected.moment, atol=1e-6)
    assert found.architecture == architecture_of("cnn4")


def test_what_is_no_sum_of_statistics_is_refused() -> None:
    vector = vector_of(statistics_of([0, 1], 0), 5)
    with pytest.raises(WireError, match="55 numbers: expected 56"):
        statistics_in(vector[:-1], 5, 6, bytes(8))
    vector[:30] *= 9  # the sums, but not their counts
    with pytest.raises(DataError, match="length 9"):
        statistics_in(vector, 5, 6, bytes(8))
