"""An objective on pairs: tell from an image's features in which direction its latent points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from ktl import Meta, PairObjective, TransferSettings


@dataclass(frozen=True)
class CosineSettings(TransferSettings):
    margin: Annotated[float, Meta(ge=0, lt=2, description="Cosine distance up to which a guess costs nothing.")] = 0.0


class CosineRegression(PairObjective):
    """The cosine distance between an image's latent and a linear map of its features."""

    Settings = CosineSettings

    def __init__(self, feature_dim: int, vectors: Tensor, settings: CosineSettings) -> None:
        super().__init__(feature_dim, vectors, settings)
        self.head = nn.Linear(feature_dim, vectors.shape[1])

    def loss(self, views: Sequence[Tensor], vectors: Tensor) -> Tensor:
        distance = 1 - F.cosine_similarity(self.head(views[0]), vectors)
        return F.relu(distance - self.settings.margin).mean()
