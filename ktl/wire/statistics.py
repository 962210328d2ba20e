"""Class statistics on the wire: means as int8 rows, the moment as int8 correlations."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ktl.class_statistics import ClassStatistics
from ktl.errors import DataError, WireError
from ktl.wire.tensors import int64, load_arrays, save_arrays

MAX_STATISTICS_BYTES = 8 * 2**20


def encode_statistics(statistics: ClassStatistics) -> bytes:
    """Class means as int8 with a float32 scale per row; the moment's diagonal, and int8 correlations below it.

    A mean is off by at most 1/254 of its row's maximum, an entry of the moment by 1/254 of the root of both diagonals'
    product.
    """
    means = statistics.means
    scales = means.abs().amax(dim=1).clamp_min(1e-12) / 127.0
    diagonal = statistics.moment.diagonal().clamp_min(0.0)
    rows, columns = _below_diagonal(len(diagonal))
    correlations = statistics.moment[rows, columns] / _products(diagonal, rows, columns).clamp_min(1e-12)
    arrays = {
        "means": (means / scales[:, None]).round().to(torch.int8).numpy(),
        "scales": scales.numpy(),
        "classes": statistics.classes.to(torch.int32).numpy(),
        "counts": statistics.counts.to(torch.int32).numpy(),
        "diagonal": diagonal.contiguous().numpy(),
        "correlations": (127.0 * correlations.clamp(-1.0, 1.0)).round().to(torch.int8).numpy(),
    }
    return save_arrays(arrays, "statistics")


def decode_statistics(payload: bytes, num_classes: int, dimension: int) -> ClassStatistics:
    """Reads what `encode_statistics` wrote, for a session of `num_classes` classes and a space of `dimension`."""
    shapes = {
        "means": ("I8", (None, dimension)),
        "scales": ("F32", (None,)),
        "classes": ("I32", (None,)),
        "counts": ("I32", (None,)),
        "diagonal": ("F32", (dimension,)),
        "correlations": ("I8", (dimension * (dimension - 1) // 2,)),
    }
    arrays = load_arrays(payload, "statistics", shapes, MAX_STATISTICS_BYTES)
    if len(arrays["classes"]) > num_classes:
        raise WireError(f"statistics of {len(arrays['classes'])} classes in a session of {num_classes}")
    if not len(arrays["scales"]) == len(arrays["means"]) == len(arrays["counts"]):
        raise WireError(
            f"{len(arrays['scales'])} scales and {len(arrays['counts'])} counts for {len(arrays['means'])} means"
        )
    if (arrays["diagonal"] < 0).any():
        raise WireError(f"the moment's diagonal has {arrays['diagonal'].min():g}: squares are not negative")
    counts = int64(arrays["counts"])
    means = torch.from_numpy(arrays["means"]).float() * torch.from_numpy(arrays["scales"])[:, None]
    statistics = ClassStatistics(
        means * counts[:, None],
        int64(arrays["classes"]),
        counts,
        _moment(torch.from_numpy(arrays["diagonal"]), torch.from_numpy(arrays["correlations"]).float() / 127.0),
    )
    try:
        statistics.validate(num_classes)
    except DataError as error:
        raise WireError(str(error)) from error
    return statistics


def _moment(diagonal: Tensor, correlations: Tensor) -> Tensor:
    rows, columns = _below_diagonal(len(diagonal))
    moment = torch.diag(diagonal)
    values = correlations * _products(diagonal, rows, columns)
    moment[rows, columns] = values
    moment[columns, rows] = values
    return moment


def _products(diagonal: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The roots of both diagonals' products: the largest that entries can be."""
    return (diagonal[rows] * diagonal[columns]).sqrt()


def _below_diagonal(dimension: int) -> tuple[Tensor, Tensor]:
    rows, columns = np.tril_indices(dimension, -1)
    return torch.from_numpy(rows), torch.from_numpy(columns)
