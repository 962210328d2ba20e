"""Class statistics as vectors: sums of vectors are those of statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("flwr", reason="needs the extra ktl[flower]")

from ktl.class_statistics import ClassStatistics, architecture_of, class_statistics, pooled
from ktl.errors import DataError, WireError
from ktl.flower.summands import noise_vector, noisy_statistics_in, statistics_in, vector_of
from ktl.seeds import stream
from ktl.statistics_noise import SHARES, with_noise


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


def test_noise_of_the_fewest_clients_adds_up_to_that_of_one() -> None:
    """Four clients with half of the deviation each, block by block; moments' diagonals have the root of two more."""
    rng, classes, dimension, deviation = stream(0, "noise"), 50, 6, 3.0
    drawn = [sum(noise_vector(classes, dimension, deviation / 2, rng) for _ in range(4)) for _ in range(400)]
    sums, counts, half = np.split(np.stack(drawn), [classes * dimension, classes * (dimension + 1)], axis=1)
    rows, columns = np.triu_indices(dimension)
    for block, share in (
        (sums, SHARES["sums"]),
        (counts, SHARES["counts"]),
        (half[:, rows == columns], SHARES["moment"]),
        (half[:, rows != columns], 2 * SHARES["moment"]),
    ):
        assert block.std() == pytest.approx(deviation / share**0.5, rel=0.05)
        assert abs(block.mean()) < 4 * block.std() / block.size**0.5


def test_a_noisy_sum_is_made_valid_and_keeps_the_classes_that_have_images() -> None:
    parts = [statistics_of([0, 0, 3], 0), statistics_of([3, 1], 1)]
    total = sum(vector_of(part, 5) for part in parts)
    held = torch.tensor([0, 1, 3])
    found = noisy_statistics_in(total + noise_vector(5, 6, 2.0, stream(0, "noise")), 5, 6, bytes(8), held)
    found.validate(5)
    assert found.classes.tolist() == [0, 1, 3]
    assert found.means.norm(dim=1).max() <= 1 + 1e-5
    without = noisy_statistics_in(total, 5, 6, bytes(8), held)
    assert torch.allclose(without.sums, pooled(parts).sums, atol=1e-5)
    once = with_noise(pooled(parts), 1e-9, stream(0, "none"))
    assert torch.allclose(without.moment, once.moment, atol=1e-5)
