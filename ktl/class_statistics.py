"""What edges with unlike networks can add up: sums over labelled images in a space that all of them share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.class_indices import check_one_each
from ktl.errors import DataError

Item = TypeVar("Item", covariant=True)

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


def pooled(parts: Iterable[ClassStatistics]) -> ClassStatistics:
    """The statistics of all images behind `parts` (at least one): their sums, added in the order given, one by one."""
    sums, counts, moment = torch.zeros(0, 0), torch.zeros(0), torch.zeros(0)
    architectures: set[bytes] = set()
    for part in parts:
        if not architectures:
            sums = torch.zeros(0, part.sums.shape[1], dtype=torch.float64)
            counts = torch.zeros(0, dtype=torch.int64)
            moment = torch.zeros_like(part.moment, dtype=torch.float64)
        new = max(int(part.classes.max()) + 1 - len(counts), 0)
        sums, counts = F.pad(sums, (0, 0, 0, new)), F.pad(counts, (0, new))
        sums.index_add_(0, part.classes, part.sums.double())
        counts.index_add_(0, part.classes, part.counts)
        moment += part.moment
        architectures.add(part.architecture)
    classes = counts.nonzero().squeeze(1)
    architecture = architectures.pop() if len(architectures) == 1 else UNSAID
    return ClassStatistics(sums[classes].float(), classes, counts[classes], moment.float(), architecture)


class Indexed(Protocol[Item]):
    """A sequence, or what makes its items as they are asked for."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int, /) -> Item:
        """The one at an index, from 0."""


def pooled_apart(parts: Indexed[ClassStatistics]) -> list[ClassStatistics]:
    """What `parts` (at least one) add up to by architecture, in the order of those: at most `MAX_ARCHITECTURES` sums.

    Where there are more, those of the fewest edges are added up together. Each part is asked for twice and not kept:
    there may be more of them than fit into the memory.
    """
    of_edges: dict[bytes, list[int]] = {}
    for index in range(len(parts)):
        of_edges.setdefault(parts[index].architecture, []).append(index)
    groups = sorted(sorted(of_edges), key=lambda architecture: len(of_edges[architecture]), reverse=True)
    apart = groups if len(groups) <= MAX_ARCHITECTURES else groups[: MAX_ARCHITECTURES - 1]
    sums = [pooled(parts[index] for index in of_edges[architecture]) for architecture in apart]
    if len(apart) < len(groups):
        rest = (index for architecture in groups[len(apart) :] for index in of_edges[architecture])
        sums.append(replace(pooled(parts[index] for index in rest), architecture=UNSAID))
    return sorted(sums, key=lambda each: each.architecture)
