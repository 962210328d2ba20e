"""How something beside the labels can guide an edge's training on its shots: what federated methods plug in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ShotBatch:
    """One step: images (n, c, s, s) in [-1, 1], labels (n,), features (n, 512), outputs (n, C), loss, stream.

    `dtype` is what extractors compute in, a guidance's own too (`features_in`).
    """

    images: Tensor
    labels: Tensor
    features: Tensor
    outputs: Tensor
    loss: Tensor
    rng: torch.Generator
    dtype: torch.dtype


class Guidance(nn.Module, ABC):
    """Turns a step's loss into the loss that is minimised; its own parameters are trained along."""

    @abstractmethod
    def forward(self, batch: ShotBatch) -> Tensor:
        """The scalar that takes the place of `batch.loss`."""
