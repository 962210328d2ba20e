"""Classifiers on an extractor's features. Each owns its loss, so that nothing else asks which one it is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.etf import arcface_logits, simplex_etf
from ktl.models.settings import ClassifierSettings


class Classifier(nn.Module, ABC):
    """Features (n, feature_dim) -> logits (n, classes); `projection` is the linear map h that it learns."""

    class_weights: Tensor | None  # (classes,) float32, of each image's loss by its class; None: all alike

    def __init__(self, feature_dim: int, classes: int, settings: ClassifierSettings) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.projection = nn.Linear(feature_dim, classes)
        self.settings = settings
        self.register_buffer("class_weights", None, persistent=False)

    def balance(self, counts: Tensor) -> None:
        """Makes every class count alike in the loss, from the images (classes,) int64 of each, 0 for some perhaps.

        An image weighs n / (m x the images of its class), of n images in all and m classes that have any: 1 on average.
        """
        weights = counts.sum() / ((counts > 0).sum() * counts.clamp_min(1))
        self.class_weights = weights.to(self.projection.weight)

    def embed(self, features: Tensor) -> Tensor:
        """normalize(h(features)), (n, classes): what prototypes are the means of."""
        return F.normalize(self.projection(features), dim=1)

    @abstractmethod
    def start_at(self, means: Tensor) -> None:
        """Makes it classify by the nearest of the class means (classes, feature_dim): unit vectors, or 0 if absent."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Logits (n, classes) of features (n, feature_dim)."""

    def hardened(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What the loss takes in place of the logits (n, classes) that `forward` gave: those with a margin, if any."""
        return logits

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The scalar to minimise for logits (n, classes) that `forward` gave, and labels (n,) int64: cross-entropy."""
        weights, hardened, smoothing = self.class_weights, self.hardened(logits, labels), self.settings.smoothing
        if weights is None:
            return F.cross_entropy(hardened, labels, label_smoothing=smoothing)
        # torch's own class weights would weigh the smoothed labels of other classes too, and divide by a batch's sum
        return (weights[labels] * F.cross_entropy(hardened, labels, label_smoothing=smoothing, reduction="none")).mean()


class EtfClassifier(Classifier):
    """Scaled cosines with the fixed vectors of a simplex ETF, trained with ArcFace: FedKTL (CVPR 2024), eq. 3-4.

    `rng` decides the frame: classifiers with equal streams share it.
    """

    etf: Tensor

    def __init__(self, feature_dim: int, classes: int, settings: ClassifierSettings, rng: torch.Generator) -> None:
        super().__init__(feature_dim, classes, settings)
        self.register_buffer("etf", simplex_etf(classes, classes, rng))

    @torch.no_grad()
    def start_at(self, means: Tensor) -> None:
        # then an embedding is as near to a vector of the frame as the feature is to its class mean
        self.projection.weight.copy_(self.etf @ means)
        self.projection.bias.zero_()

    def forward(self, features: Tensor) -> Tensor:
        return self.settings.scale * (self.embed(features) @ self.etf)

    def hardened(self, logits: Tensor, labels: Tensor) -> Tensor:
        settings = self.settings
        return arcface_logits(logits / settings.scale, labels, settings.margin, settings.scale)


class LinearClassifier(Classifier):
    """A linear head trained by cross-entropy: what most federated baselines share. It draws nothing from `rng`."""

    def __init__(
        self, feature_dim: int, classes: int, settings: ClassifierSettings, rng: torch.Generator | None = None
    ) -> None:
        super().__init__(feature_dim, classes, settings)

    @torch.no_grad()
    def start_at(self, means: Tensor) -> None:
        self.projection.weight.copy_(means)
        self.projection.bias.zero_()

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.projection(features)
        return logits
