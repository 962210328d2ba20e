"""Class statistics as one vector of a known length, which secure aggregation can add up."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ktl.class_statistics import ClassStatistics
from ktl.errors import WireError
from ktl.statistics_noise import nearest_valid, noise

Vector = NDArray[np.float64]


def vector_of(statistics: ClassStatistics, classes: int) -> Vector:
    """float64 (C D + C + D (D + 1) / 2,): sums of all C classes, counts, and the moment's upper half."""
    sums = torch.zeros(classes, statistics.sums.shape[1]).index_copy_(0, statistics.classes, statistics.sums)
    counts = torch.zeros(classes).index_copy_(0, statistics.classes, statistics.counts.float())
    return _vector(sums, counts, statistics.moment)


def noise_vector(classes: int, dimension: int, deviation: float, rng: torch.Generator) -> Vector:
    """What a client adds to such a vector: noise on all classes, so that each has that of all clients."""
    return _vector(*noise(classes, dimension, deviation, rng))


def statistics_in(vector: Vector, classes: int, dimension: int, architecture: bytes) -> ClassStatistics:
    """The statistics of which `vector` is the sum, up to its quantisation.

    Raises WireError for another length, and DataError for what cannot be a sum of class statistics.
    """
    sums, counts, moment = _parts(vector, classes, dimension)
    moment.diagonal().clamp_min_(0.0)
    whole = counts.round().long()
    known = (whole > 0).nonzero().squeeze(1)
    statistics = ClassStatistics(sums[known].float(), known, whole[known], moment.float(), architecture)
    statistics.validate(classes)
    return statistics


def noisy_statistics_in(
    vector: Vector, classes: int, dimension: int, architecture: bytes, held: Tensor
) -> ClassStatistics:
    """The nearest valid statistics to a sum with noise; `held`: the classes (m,) int64 that have images behind it.

    Raises WireError for another length.
    """
    sums, counts, moment = _parts(vector, classes, dimension)
    return nearest_valid(ClassStatistics(sums[held], held, counts[held], moment, architecture), counts[held])


def summand_length(classes: int, dimension: int) -> int:
    """Numbers in a vector."""
    return classes * (dimension + 1) + dimension * (dimension + 1) // 2


def _vector(sums: Tensor, counts: Tensor, moment: Tensor) -> Vector:
    rows, columns = torch.triu_indices(*moment.shape)
    return torch.cat([sums.flatten(), counts, moment[rows, columns]]).double().numpy()


def _parts(vector: Vector, classes: int, dimension: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sums (C, D), counts (C,) and the moment (D, D), float64. Raises WireError for another length."""
    if vector.shape != (summand_length(classes, dimension),):
        raise WireError(f"a sum of {vector.size} numbers: expected {summand_length(classes, dimension)}")
    sizes = [classes * dimension, classes, dimension * (dimension + 1) // 2]
    sums, counts, half = torch.from_numpy(vector).split(sizes)
    rows, columns = torch.triu_indices(dimension, dimension)
    moment = torch.zeros(dimension, dimension, dtype=torch.float64)
    moment[rows, columns] = half
    moment[columns, rows] = half
    return sums.view(classes, dimension), counts, moment
