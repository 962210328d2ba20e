"""Class statistics as one vector of a known length, which secure aggregation can add up."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ktl.class_statistics import ClassStatistics
from ktl.errors import WireError

Vector = NDArray[np.float64]


def vector_of(statistics: ClassStatistics, classes: int) -> Vector:
    """float64 (C D + C + D (D + 1) / 2,): sums of all C classes, counts, and the moment's upper half."""
    dimension = statistics.sums.shape[1]
    sums = torch.zeros(classes, dimension).index_copy_(0, statistics.classes, statistics.sums)
    counts = torch.zeros(classes).index_copy_(0, statistics.classes, statistics.counts.float())
    rows, columns = torch.triu_indices(dimension, dimension)
    return torch.cat([sums.flatten(), counts, statistics.moment[rows, columns]]).double().numpy()


def statistics_in(vector: Vector, classes: int, dimension: int, architecture: bytes) -> ClassStatistics:
    """The statistics of which `vector` is the sum, up to its quantisation.

    Raises WireError for another length, and DataError for what cannot be a sum of class statistics.
    """
    if vector.shape != (summand_length(classes, dimension),):
        raise WireError(f"a sum of {vector.size} numbers: expected {summand_length(classes, dimension)}")
    values = torch.from_numpy(vector)
    sums, counts, half = values.split([classes * dimension, classes, dimension * (dimension + 1) // 2])
    rows, columns = torch.triu_indices(dimension, dimension)
    moment = torch.zeros(dimension, dimension, dtype=torch.float64)
    moment[rows, columns] = half
    moment[columns, rows] = half
    moment.diagonal().clamp_min_(0.0)
    whole = counts.round().long()
    known = (whole > 0).nonzero().squeeze(1)
    statistics = ClassStatistics(
        sums.view(classes, dimension)[known].float(), known, whole[known], moment.float(), architecture
    )
    statistics.validate(classes)
    return statistics


def summand_length(classes: int, dimension: int) -> int:
    """Numbers in a vector."""
    return classes * (dimension + 1) + dimension * (dimension + 1) // 2
