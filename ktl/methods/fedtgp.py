"""FedTGP: Zhang et al., "FedTGP: Trainable Global Prototypes with Adaptive-Margin-Enhanced Contrastive Learning"
(AAAI 2024), eq. 5-9.

Up and down as FedProto. The cloud trains its prototypes T_c (an embedding through two linear layers) on the reported
means P: -log exp(-d(P, T_c) - m) / (exp(-d(P, T_c) - m) + sum_c' exp(-d(P, T_c'))), d Euclidean; the margin m is the
largest distance between two classes' average means, at most 100.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.methods.base import class_means
from ktl.methods.fedproto import FedProto, MeanSettings
from ktl.methods.message import Message
from ktl.models.backbone import FEATURE_DIM
from ktl.seeds import initialising, stream
from ktl.settings import Meta


@dataclass(frozen=True)
class TrainablePrototypeSettings(MeanSettings):
    """The paper's weight, and how the cloud trains its prototypes."""

    weight: float = 0.1
    max_margin: Annotated[float, Meta(ge=0, description="Of the contrast between prototypes.")] = 100.0
    epochs: Annotated[int, Meta(ge=1, description="Of the cloud, over the reported means, per round.")] = 100
    batch: Annotated[int, Meta(ge=1, description="Means per step of the cloud.")] = 10
    learning_rate: Annotated[float, Meta(gt=0, description="Of the cloud's SGD.")] = 0.01


class TrainablePrototypes(nn.Sequential):
    """Class indices (n,) -> prototypes (n, 512)."""

    def __init__(self, classes: int) -> None:
        super().__init__(
            nn.Embedding(classes, FEATURE_DIM),
            nn.Linear(FEATURE_DIM, FEATURE_DIM),
            nn.ReLU(),
            nn.Linear(FEATURE_DIM, FEATURE_DIM),
        )


class FedTGP(FedProto):
    """FedProto with prototypes that the cloud trains apart from one another."""

    Settings = TrainablePrototypeSettings
    _prototypes: TrainablePrototypes | None = None

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        means = torch.cat([report["means"] for report in reports.values()])
        classes = torch.cat([report["classes"] for report in reports.values()])
        prototypes = self._prototypes or self._new()
        every_class = torch.arange(self.problem.classes)
        margin = adaptive_margin(means, classes, self.problem.classes, self.settings.max_margin)
        optimizer = torch.optim.SGD(prototypes.parameters(), lr=self.settings.learning_rate)
        rng = stream(self.problem.seed, "fedtgp", round_index)
        for _ in range(self.settings.epochs):
            for index in torch.randperm(len(classes), generator=rng).split(self.settings.batch):
                distances = torch.cdist(means[index], prototypes(every_class))
                own = F.one_hot(classes[index], self.problem.classes)
                optimizer.zero_grad()
                F.cross_entropy(-(distances + margin * own), classes[index]).backward()
                optimizer.step()
        self._take(prototypes)

    def state(self) -> Mapping[str, Tensor]:
        return {} if self._prototypes is None else self._prototypes.state_dict()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        if tensors:
            prototypes = self._new()
            prototypes.load_state_dict(tensors)
            self._take(prototypes)

    def _take(self, prototypes: TrainablePrototypes) -> None:
        self._prototypes = prototypes
        every_class = torch.arange(self.problem.classes)
        with torch.no_grad():
            self.broadcast = Message({"means": prototypes(every_class), "classes": every_class})

    def _new(self) -> TrainablePrototypes:
        with initialising(self.problem.seed, "fedtgp"):
            return TrainablePrototypes(self.problem.classes)


def adaptive_margin(means: Tensor, classes: Tensor, total: int, most: float) -> float:
    """The largest distance between two classes' averages of means (n, 512) with classes (n,), at most `most`.

    0 with one class.
    """
    centres = class_means(means, classes, total)["means"]
    return min(float(torch.cdist(centres, centres).max()), most)
