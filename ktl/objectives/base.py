"""What an edge asks of an auxiliary task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from ktl.config import TransferConfig


class AuxiliaryTask(nn.Module, ABC):
    """Learns from random views of generated images and their vectors; its own heads sit on the edge's extractor."""

    views: int  # random views of each image that `forward` takes

    def __init__(self, feature_dim: int, vectors: Tensor, config: TransferConfig) -> None:
        """vectors (n, H): all that were downloaded, for their statistics."""
        super().__init__()

    @abstractmethod
    def forward(self, views: Sequence[Tensor], vectors: Tensor) -> Tensor:
        """The features (n, feature_dim) of each view and the vectors (n, H), in the same order -> scalar loss."""
