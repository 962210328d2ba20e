"""Classifiers on an extractor's features. Each owns its loss, so that nothing else asks which one it is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.etf import arcface_loss, simplex_etf
from ktl.models.settings import ClassifierSettings


class Classifier(nn.Module, ABC):
    """Features (n, feature_dim) -> logits (n, classes); `projection` is the linear map h that it learns."""

    def __init__(self, feature_dim: int, classes: int, settings: ClassifierSettings) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.projection = nn.Linear(feature_dim, classes)
        self.settings = settings

    def embed(self, features: Tensor) -> Tensor:
        """normalize(h(features)), (n, classes): what prototypes are the means of."""
        return F.normalize(self.projection(features), dim=1)

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Logits (n, classes) of features (n, feature_dim)."""

    @abstractmethod
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The scalar to minimise for logits (n, classes) that `forward` gave, and labels (n,) int64."""


class EtfClassifier(Classifier):
    """Scaled cosines with the fixed vectors of a simplex ETF, trained with ArcFace: FedKTL (CVPR 2024), eq. 3-4.

    `rng` decides the frame: classifiers with equal streams share it.
    """

    etf: Tensor

    def __init__(self, feature_dim: int, classes: int, settings: ClassifierSettings, rng: torch.Generator) -> None:
        super().__init__(feature_dim, classes, settings)
        self.register_buffer("etf", simplex_etf(classes, classes, rng))

    def forward(self, features: Tensor) -> Tensor:
        return self.settings.scale * (self.embed(features) @ self.etf)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        settings = self.settings
        return arcface_loss(
            logits / settings.scale,
            labels,
            margin=settings.margin,
            scale=settings.scale,
            smoothing=settings.smoothing,
        )


class LinearClassifier(Classifier):
    """A linear head trained by cross-entropy: what most federated baselines share. It draws nothing from `rng`."""

    def __init__(
        self, feature_dim: int, classes: int, settings: ClassifierSettings, rng: torch.Generator | None = None
    ) -> None:
        super().__init__(feature_dim, classes, settings)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.projection(features)
        return logits

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.settings.smoothing)
