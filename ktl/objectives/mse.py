"""The published objective on pairs: predict an image's latent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ktl.objectives.pair_objective import PairObjective
from ktl.objectives.settings import TransferSettings


@dataclass(frozen=True)
class RegressionSettings(TransferSettings):
    """The paper's: no warm-up, mu = 50, and everything anew in each round."""

    warmup_steps: int | None = 0
    joint_batch: int | None = 10
    weight: float = 50.0
    anew_each_round: bool = True


class LatentRegression(PairObjective):
    """MSE(g(f(image)), vector) with g linear: FedKTL (CVPR 2024). Vectors are used as they come, unnormalised."""

    Settings: ClassVar[type[TransferSettings]] = RegressionSettings

    def __init__(self, feature_dim: int, vectors: Tensor, settings: RegressionSettings) -> None:
        super().__init__(feature_dim, vectors, settings)
        self.head = nn.Linear(feature_dim, vectors.shape[1])

    def loss(self, views: Sequence[Tensor], vectors: Tensor) -> Tensor:
        """One view's features (n, feature_dim), vectors (n, H) -> scalar."""
        (features,) = views
        return F.mse_loss(self.head(features), vectors)
