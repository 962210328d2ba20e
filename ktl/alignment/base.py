"""What an alignment strategy is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ktl.generators.base import ImageGenerator
from ktl.prototypes import Prototypes


@dataclass(frozen=True)
class AlignedLatents:
    """Latents of the m classes that have a prototype.

    classes (m,) int64; centroids (m, H); latents (m, per_class, H), the first of each class being its centroid.
    """

    classes: Tensor
    centroids: Tensor
    latents: Tensor


class Alignment(Protocol):
    """A strategy, created for one session with its seed; it may keep state from round to round."""

    def align(self, prototypes: Sequence[Prototypes], generator: ImageGenerator, per_class: int) -> AlignedLatents:
        """Latents for the pooled prototypes of the edges that took part in this round."""
