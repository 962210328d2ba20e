"""An auxiliary task that needs no latents: tell which two views come from the same generated image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.config import TransferConfig
from ktl.objectives.base import AuxiliaryTask
from ktl.objectives.image_vector import EMBEDDING_DIM, ImageVectorContrast


class ViewContrast(AuxiliaryTask):
    """NT-Xent (Chen et al., "SimCLR", ICML 2020, eq. 1) over two random views of each image, with a linear head."""

    views = 2

    def __init__(self, feature_dim: int, vectors: Tensor, config: TransferConfig) -> None:
        super().__init__(feature_dim, vectors, config)
        self.temperature = config.temperature
        self.head = nn.Linear(feature_dim, EMBEDDING_DIM)

    def forward(self, views: Sequence[Tensor], vectors: Tensor) -> Tensor:
        """Two views' features, (n, feature_dim) each, in the same order -> scalar; vectors play no part."""
        embeddings = F.normalize(self.head(torch.cat(list(views))), dim=1)
        logits = embeddings @ embeddings.T / self.temperature
        itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        other_view = torch.arange(len(logits), device=logits.device).roll(len(logits) // 2)
        return F.cross_entropy(logits.masked_fill(itself, float("-inf")), other_view)


class ImageVectorAndViewContrast(AuxiliaryTask):
    """The sum of `image-vector` (on the first view) and `contrastive`."""

    views = 2

    def __init__(self, feature_dim: int, vectors: Tensor, config: TransferConfig) -> None:
        super().__init__(feature_dim, vectors, config)
        self.image_vector = ImageVectorContrast(feature_dim, vectors, config)
        self.contrastive = ViewContrast(feature_dim, vectors, config)

    def forward(self, views: Sequence[Tensor], vectors: Tensor) -> Tensor:
        """Two views' features, (n, feature_dim) each, and vectors (n, H), in the same order -> scalar."""
        loss: Tensor = self.image_vector(views[:1], vectors) + self.contrastive(views, vectors)
        return loss
