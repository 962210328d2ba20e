"""Class prototypes: all that an edge tells a cloud about its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.class_indices import check_one_each
from ktl.errors import DataError

MAX_LENGTH = 1.25  # of a unit vector that was rounded to int8, in 1000 dimensions


@dataclass(frozen=True)
class Prototypes:
    """One unit vector for each class that an edge holds.

    vectors (n, K) float32; classes (n,) int64, distinct, >= 0; counts (n,) int64 >= 1, the samples behind each vector.
    K is 0 where a cloud's alignment reads no vectors, and only classes and counts are sent.
    """

    vectors: Tensor
    classes: Tensor
    counts: Tensor

    def validate(self, num_classes: int) -> None:
        """Raises DataError, naming the first value that is wrong."""
        n = len(self.classes)
        if self.vectors.ndim != 2 or self.classes.ndim != 1 or self.counts.ndim != 1:
            raise DataError("prototypes need vectors (n, K), classes (n,) and counts (n,)")
        if n == 0 or len(self.vectors) != n or len(self.counts) != n:
            raise DataError(f"prototypes disagree: {len(self.vectors)} vectors, {n} classes, {len(self.counts)} counts")
        if not torch.isfinite(self.vectors).all():
            bad = int(self.classes[~torch.isfinite(self.vectors).all(dim=1)][0])
            raise DataError(f"the prototype of class {bad} is not finite; the model that made it has diverged")
        length, longest = self.vectors.norm(dim=1).max(dim=0)
        if length > MAX_LENGTH:
            raise DataError(f"the prototype of class {int(self.classes[longest])} has length {length:.3g}, not 1")
        check_one_each(self.classes, self.counts, num_classes, what="prototype", of="samples")


def class_prototypes(embeddings: Tensor, labels: Tensor) -> Prototypes:
    """The mean of each class's unit embeddings (n, K), normalised again; labels (n,) int64. FedKTL section 3.2.

    Classes without a sample are left out. K is the number of classes when embeddings come from an `EtfClassifier`.
    """
    classes, inverse, counts = labels.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(classes), embeddings.shape[1]).index_add_(0, inverse, embeddings.float())
    return Prototypes(F.normalize(sums, dim=1), classes, counts)


def bare_prototypes(labels: Tensor) -> Prototypes:
    """The classes among labels (n,) int64, n >= 1, and their counts, with vectors of no numbers."""
    classes, counts = labels.unique(return_counts=True)
    return Prototypes(torch.zeros(len(classes), 0), classes, counts)


def class_sums(prototypes: Sequence[Prototypes], num_classes: int) -> tuple[Tensor, Tensor]:
    """Pools the prototypes of several edges: count-weighted sums (num_classes, K) and sample counts (num_classes,).

    Sums add up over edges, so secure aggregation can hand a cloud these without any one edge's prototypes.
    """
    sums = torch.zeros(num_classes, prototypes[0].vectors.shape[1], dtype=torch.float64)
    counts = torch.zeros(num_classes, dtype=torch.int64)
    for edge in prototypes:
        sums.index_add_(0, edge.classes, edge.vectors.double() * edge.counts[:, None])
        counts.index_add_(0, edge.classes, edge.counts)
    return sums, counts
