"""The published auxiliary task: predict an image's latent."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ktl.config import TransferConfig


class LatentRegression(nn.Module):
    """MSE(g(f(image)), vector) with g linear: FedKTL (CVPR 2024). Vectors are used as they come, unnormalised."""

    def __init__(self, feature_dim: int, vectors: Tensor, config: TransferConfig) -> None:
        super().__init__()
        self.head = nn.Linear(feature_dim, vectors.shape[1])

    def forward(self, features: Tensor, vectors: Tensor) -> Tensor:
        """features (n, feature_dim), vectors (n, H) -> scalar."""
        return F.mse_loss(self.head(features), vectors)
