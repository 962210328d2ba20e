"""The published auxiliary task: predict an image's latent."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ktl.config import TransferConfig
from ktl.objectives.base import AuxiliaryTask


class LatentRegression(AuxiliaryTask):
    """MSE(g(f(image)), vector) with g linear: FedKTL (CVPR 2024). Vectors are used as they come, unnormalised."""

    views = 1

    def __init__(self, feature_dim: int, vectors: Tensor, config: TransferConfig) -> None:
        super().__init__(feature_dim, vectors, config)
        self.head = nn.Linear(feature_dim, vectors.shape[1])

    def forward(self, views: Sequence[Tensor], vectors: Tensor) -> Tensor:
        """One view's features (n, feature_dim), vectors (n, H) -> scalar."""
        (features,) = views
        return F.mse_loss(self.head(features), vectors)
