"""Class statistics on the wire: means as int8 rows, the moment as int8 correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ktl.class_statistics import MAX_ARCHITECTURES, UNSAID, ClassStatistics
from ktl.errors import DataError, WireError
from ktl.protocol import VERSION
from ktl.wire.tensors import Shapes, int8_rows, int64, load_arrays, read_header, save_arrays

MAX_STATISTICS_BYTES = 8 * 2**20


def encode_statistics(statistics: ClassStatistics) -> bytes:
    """Class means as int8 with a float32 scale per row; the moment's diagonal, and int8 correlations below it.

    A mean is off by at most 1/254 of its row's maximum, an entry of the moment by 1/254 of the root of both diagonals'
    product.
    """
    return save_arrays(_arrays(statistics), "statistics")


def _arrays(statistics: ClassStatistics) -> dict[str, NDArray[Any]]:
    means = statistics.means
    rows_of_means, scales = int8_rows(means)
    diagonal = statistics.moment.diagonal().clamp_min(0.0)
    rows, columns = _below_diagonal(len(diagonal))
    correlations = statistics.moment[rows, columns] / _products(diagonal, rows, columns).clamp_min(1e-12)
    return {
        "means": rows_of_means,
        "scales": scales,
        "classes": statistics.classes.to(torch.int32).numpy(),
        "counts": statistics.counts.to(torch.int32).numpy(),
        "diagonal": diagonal.contiguous().numpy(),
        "correlations": (127.0 * correlations.clamp(-1.0, 1.0)).round().to(torch.int8).numpy(),
        "architecture": np.frombuffer(statistics.architecture, np.uint8),
    }


def statistics_bytes(num_classes: int, dimension: int) -> int:
    """The most that the arrays of encoded class statistics take; their header comes on top."""
    return num_classes * (dimension + 12) + dimension * (dimension + 7) // 2


def decode_statistics(payload: bytes, num_classes: int, dimension: int) -> ClassStatistics:
    """Reads what `encode_statistics` wrote, for a session of `num_classes` classes and a space of `dimension`."""
    _, arrays = load_arrays(payload, "statistics", {VERSION: _shapes(dimension)}, MAX_STATISTICS_BYTES)
    return _statistics(arrays, num_classes)


def encode_pooled(parts: Sequence[ClassStatistics]) -> bytes:
    """As `encode_statistics`, for what `pooled_apart` gives: the arrays of part 0 are called `0.means` and so on."""
    arrays = {f"{i}.{name}": array for i, part in enumerate(parts) for name, array in _arrays(part).items()}
    return save_arrays(arrays, "pooled")


def decode_pooled(payload: bytes, num_classes: int, dimension: int) -> list[ClassStatistics]:
    """Reads what `encode_pooled` wrote, at least one part; arguments as of `decode_statistics`."""
    count = sum(name.endswith(".means") for name in read_header(payload, "pooled"))
    if not 1 <= count <= MAX_ARCHITECTURES:
        raise WireError(f"statistics of {count} architectures: 1 to {MAX_ARCHITECTURES} are pooled apart")
    shapes = {f"{i}.{name}": shape for i in range(count) for name, shape in _shapes(dimension).items()}
    _, arrays = load_arrays(payload, "pooled", {VERSION: shapes}, MAX_ARCHITECTURES * MAX_STATISTICS_BYTES)
    parts = ({name: arrays[f"{i}.{name}"] for name in _shapes(dimension)} for i in range(count))
    return [_statistics(part, num_classes) for part in parts]


def _shapes(dimension: int) -> Shapes:
    return {
        "means": ("I8", (None, dimension)),
        "scales": ("F32", (None,)),
        "classes": ("I32", (None,)),
        "counts": ("I32", (None,)),
        "diagonal": ("F32", (dimension,)),
        "correlations": ("I8", (dimension * (dimension - 1) // 2,)),
        "architecture": ("U8", (len(UNSAID),)),
    }


def _statistics(arrays: Mapping[str, NDArray[Any]], num_classes: int) -> ClassStatistics:
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
        arrays["architecture"].tobytes(),
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
