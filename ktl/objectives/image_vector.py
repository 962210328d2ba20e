"""The default objective on pairs: tell which latent of the batch an image was drawn from, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.objectives.pair_objective import PairObjective
from ktl.objectives.settings import TransferSettings
from ktl.pairs import ImageVectorPairs
from ktl.settings import Meta


@dataclass(frozen=True)
class ContrastSettings(TransferSettings):
    """Of a contrast over the batch."""

    temperature: Annotated[float, Meta(gt=0, description="By which similarities are divided.")] = 0.2
    embedding_dim: Annotated[int, Meta(ge=1, le=65_536, description="Of the space in which pairs meet.")] = 128
    metric_temperature: Annotated[
        float, Meta(gt=0, description="The same, where vectors are taken as they are: an encoder's.")
    ] = 0.1


class ImageVectorContrast(PairObjective):
    """InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) between g(f(image)) and a linear map of the latent.

    Latents are standardised by the statistics of the downloaded ones, so that their scale plays no role: with the
    published squared error it does, and a drifting generator input makes the loss explode. Both directions, averaged.
    """

    Settings: ClassVar[type[TransferSettings]] = ContrastSettings
    mean: Tensor
    deviation: Tensor

    def __init__(self, feature_dim: int, vectors: Tensor, settings: ContrastSettings) -> None:
        super().__init__(feature_dim, vectors, settings)
        self.temperature = settings.temperature
        self.image_head = nn.Linear(feature_dim, settings.embedding_dim)
        self.vector_head = nn.Linear(vectors.shape[1], settings.embedding_dim)
        self.register_buffer("mean", vectors.mean(dim=0))
        self.register_buffer("deviation", vectors.std(dim=0, unbiased=False).clamp_min(1e-6))

    def loss(self, views: Sequence[Tensor], vectors: Tensor) -> Tensor:
        """One view's features (n, feature_dim) and the vectors (n, H) of the same pairs, in one order -> scalar."""
        (features,) = views
        images = F.normalize(self.image_head(features), dim=1)
        latents = F.normalize(self.vector_head((vectors - self.mean) / self.deviation), dim=1)
        return info_nce(images, latents, self.temperature)

    @classmethod
    def on(cls, pairs: ImageVectorPairs, feature_dim: int, settings: ContrastSettings) -> PairObjective:
        """Vectors that are a metric need no learnt map: they are what the edge shall learn."""
        kind = MetricContrast if pairs.metric else cls
        return kind(feature_dim, pairs.vectors, settings)


class MetricContrast(PairObjective):
    """InfoNCE between g(f(image)) and the vector as it is, taken from the mean of the downloaded ones."""

    Settings: ClassVar[type[TransferSettings]] = ContrastSettings
    mean: Tensor

    def __init__(self, feature_dim: int, vectors: Tensor, settings: ContrastSettings) -> None:
        super().__init__(feature_dim, vectors, settings)
        self.temperature = settings.metric_temperature
        self.image_head = nn.Linear(feature_dim, vectors.shape[1])
        self.register_buffer("mean", vectors.mean(dim=0))

    def loss(self, views: Sequence[Tensor], vectors: Tensor) -> Tensor:
        """One view's features (n, feature_dim) and the vectors (n, H) of the same pairs, in one order -> scalar."""
        (features,) = views
        images = F.normalize(self.image_head(features), dim=1)
        return info_nce(images, F.normalize(vectors - self.mean, dim=1), self.temperature)


def info_nce(images: Tensor, vectors: Tensor, temperature: float) -> Tensor:
    """Unit vectors (n, D) twice, in one order -> scalar: tell which of the batch belong together, both ways."""
    logits = images @ vectors.T / temperature
    same = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
