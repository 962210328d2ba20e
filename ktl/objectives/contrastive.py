"""An objective that needs no latents: tell which two views come from the same generated image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.objectives.image_vector import ContrastSettings, ImageVectorContrast
from ktl.objectives.pair_objective import PairObjective
from ktl.objectives.settings import TransferSettings


class ViewContrast(PairObjective):
    """NT-Xent (Chen et al., "SimCLR", ICML 2020, eq. 1) over two random views of each image, with a linear head."""

    views = 2
    Settings: ClassVar[type[TransferSettings]] = ContrastSettings

    def __init__(self, feature_dim: int, vectors: Tensor, settings: ContrastSettings) -> None:
        super().__init__(feature_dim, vectors, settings)
        self.temperature = settings.temperature
        self.head = nn.Linear(feature_dim, settings.embedding_dim)

    def loss(self, views: Sequence[Tensor], vectors: Tensor) -> Tensor:
        """Two views' features, (n, feature_dim) each, in the same order -> scalar; vectors play no part."""
        embeddings = F.normalize(self.head(torch.cat(list(views))), dim=1)
        logits = embeddings @ embeddings.T / self.temperature
        itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        other_view = torch.arange(len(logits), device=logits.device).roll(len(logits) // 2)
        return F.cross_entropy(logits.masked_fill(itself, float("-inf")), other_view)


class ImageVectorAndViewContrast(PairObjective):
    """The sum of `image-vector` (on the first view) and `contrastive`."""

    views = 2
    Settings: ClassVar[type[TransferSettings]] = ContrastSettings

    def __init__(self, feature_dim: int, vectors: Tensor, settings: ContrastSettings) -> None:
        super().__init__(feature_dim, vectors, settings)
        self.image_vector = ImageVectorContrast(feature_dim, vectors, settings)
        self.contrastive = ViewContrast(feature_dim, vectors, settings)

    def loss(self, views: Sequence[Tensor], vectors: Tensor) -> Tensor:
        """Two views' features, (n, feature_dim) each, and vectors (n, H), in the same order -> scalar."""
        return self.image_vector.loss(views[:1], vectors) + self.contrastive.loss(views, vectors)
