"""What edges with unlike networks can add up: sums over labelled images in a space that all of them share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from ktl.class_indices import check_one_each
from ktl.errors import DataError

MAX_DIMENSION = 1024  # of a space in which statistics are pooled: the moment has its square
MAX_ARCHITECTURES = 16  # that are added up apart from each other
UNSAID = bytes(8)  # in place of an architecture: several of them, or none that an edge tells
MAX_LENGTH = 1.25  # of a mean of unit vectors that was rounded to int8


@dataclass(frozen=True)
class ClassStatistics:
    """Sums over n labelled images, each a unit vector r of D numbers. Statistics of several edges are their sums.

    sums (m, D) float32: the sum of r for each class; classes (m,) int64, distinct, >= 0; counts (m,) int64 >= 1, images
    behind each sum; moment (D, D) float32, symmetric: the sum of r r^T over all images. Scatter within classes follows
    from it for whatever was added up, which scatter around each edge's own means would not give: with one image of a
    class at each edge, those are zero. architecture: 8 bytes, `architecture_of` the extractors behind them, or UNSAID.
    """

    sums: Tensor
    classes: Tensor
    counts: Tensor
    moment: Tensor
    architecture: bytes = UNSAID

    @property
    def means(self) -> Tensor:
        """Of each class, (m, D) float32."""
        return self.sums / self.counts[:, None]

    def validate(self, num_classes: int) -> None:
        """Raises DataError, naming the first value that is wrong."""
        m = len(self.classes)
        if self.sums.ndim != 2 or self.classes.ndim != 1 or self.counts.ndim != 1:
            raise DataError("class statistics need sums (m, D), classes (m,) and counts (m,)")
        if m == 0 or len(self.sums) != m or len(self.counts) != m:
            raise DataError(f"class statistics disagree: {len(self.sums)} sums, {m} classes, {len(self.counts)} counts")
        dimension = self.sums.shape[1]
        if self.moment.shape != (dimension, dimension):
            raise DataError(f"the moment is {tuple(self.moment.shape)}: expected ({dimension}, {dimension}), as sums")
        check_one_each(self.classes, self.counts, num_classes, what="sum", of="images")
        self._validate_sizes()

    def _validate_sizes(self) -> None:
        if not torch.isfinite(self.sums).all() or not torch.isfinite(self.moment).all():
            raise DataError("class statistics are not finite; the model that made them has diverged")
        length, longest = self.means.norm(dim=1).max(dim=0)
        if length > MAX_LENGTH:
            raise DataError(f"the mean of class {int(self.classes[longest])} has length {length:.3g}, more than 1")
        images, trace = int(self.counts.sum()), float(self.moment.trace())
        if not images / MAX_LENGTH**2 <= trace <= images * MAX_LENGTH**2:
            raise DataError(f"the moment's trace is {trace:.4g} where {images} unit vectors make {images}")


def class_statistics(points: Tensor, labels: Tensor) -> ClassStatistics:
    """Of points (n, D) and their labels (n,) int64, n >= 1; what is sent are unit vectors in the shared space."""
    points = points.float()
    classes, inverse, counts = labels.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(classes), points.shape[1]).index_add_(0, inverse, points)
    return ClassStatistics(sums, classes, counts, points.T @ points)


def architecture_of(model: str) -> bytes:
    """8 bytes that tell a model's name from others' without saying it."""
    return hashlib.sha256(model.encode()).digest()[:8]


def pooled(parts: Sequence[ClassStatistics]) -> ClassStatistics:
    """The statistics of all images behind `parts` (at least one): their sums, added in the order given."""
    classes = torch.cat([part.classes for part in parts]).unique()
    sums = torch.zeros(len(classes), parts[0].sums.shape[1], dtype=torch.float64)
    counts = torch.zeros(len(classes), dtype=torch.int64)
    moment = torch.zeros_like(parts[0].moment, dtype=torch.float64)
    for part in parts:
        rows = torch.searchsorted(classes, part.classes)
        sums.index_add_(0, rows, part.sums.double())
        counts.index_add_(0, rows, part.counts)
        moment += part.moment
    architectures = {part.architecture for part in parts}
    architecture = architectures.pop() if len(architectures) == 1 else UNSAID
    return ClassStatistics(sums.float(), classes, counts, moment.float(), architecture)


def pooled_apart(parts: Sequence[ClassStatistics]) -> list[ClassStatistics]:
    """What `parts` (at least one) add up to by architecture, in the order of those: at most `MAX_ARCHITECTURES` sums.

    Where there are more, those of the fewest edges are added up together.
    """
    ordered = sorted(parts, key=_architecture)  # stable: the edges of one keep their order
    groups = [list(group) for _, group in groupby(ordered, key=_architecture)]
    groups.sort(key=len, reverse=True)
    rest = [replace(part, architecture=UNSAID) for group in groups[MAX_ARCHITECTURES - 1 :] for part in group]
    if len(groups) > MAX_ARCHITECTURES:
        groups = [*groups[: MAX_ARCHITECTURES - 1], rest]
    return sorted(map(pooled, groups), key=_architecture)


def _architecture(part: ClassStatistics) -> bytes:
    return part.architecture
