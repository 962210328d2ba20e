"""FedProto: Tan et al., "FedProto: Federated Prototype Learning across Heterogeneous Clients" (AAAI 2022), eq. 6-8.

Up: class-mean features, 512 numbers per class that a client has. Down: their average over clients, 512 C numbers.
Edges minimise L = CE + lambda MSE(f(x), mean of its class), lambda = 10, and predict the class of the nearest mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.learning.learner import EdgeLearner
from ktl.methods.base import Method, average_means, class_means, features_of
from ktl.methods.message import Message
from ktl.objectives.base import ClassifierLoss, Objective, Step
from ktl.settings import Meta, Settings


@dataclass(frozen=True)
class MeanSettings(Settings):
    """How hard edges are pulled towards the global means."""

    weight: Annotated[float, Meta(ge=0, description="Lambda, of the squared distance beside the cross-entropy.")] = 10.0


class TowardsMeans(Objective):
    """The weighted squared distance of features, or logits, to their classes' means, where a mean is known."""

    means: Tensor
    known: Tensor

    def __init__(self, message: Message, classes: int, weight: float, of_logits: bool = False) -> None:
        super().__init__()
        self.weight = weight
        self.of_logits = of_logits
        dense = torch.zeros(classes, message["means"].shape[1]).index_copy_(0, message["classes"], message["means"])
        self.register_buffer("means", dense)
        self.register_buffer("known", torch.zeros(classes, dtype=torch.bool).index_fill_(0, message["classes"], True))

    def forward(self, step: Step) -> Tensor:
        values = step.logits if self.of_logits else step.features
        # a class without a mean is its own target: no pull
        target = torch.where(self.known[step.labels, None], self.means[step.labels], values.detach())
        return self.weight * F.mse_loss(values, target)


class NearestMean(nn.Module):
    """images -> minus the distance (n, C) of their features to each mean; -inf for an unknown class."""

    means: Tensor
    known: Tensor

    def __init__(self, extractor: nn.Module, towards: TowardsMeans) -> None:
        super().__init__()
        self.extractor = extractor
        self.register_buffer("means", towards.means)
        self.register_buffer("known", towards.known)

    def forward(self, images: Tensor) -> Tensor:
        # not cdist: it has no counterpart in ONNX
        distances: Tensor = torch.linalg.vector_norm(self.extractor(images)[:, None] - self.means, dim=2)
        return (-distances).masked_fill(~self.known, float("-inf"))


class FedProto(Method):
    """Pulls features towards global class means."""

    Settings = MeanSettings

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        if message:
            learner.minimise(ClassifierLoss(), TowardsMeans(message, self.problem.classes, self.settings.weight))

    def report(self, learner: EdgeLearner) -> Message:
        return class_means(features_of(learner), learner.task.shot_labels, self.problem.classes)

    def predictor(self, learner: EdgeLearner, message: Message) -> nn.Module:
        """The nearest mean; before the first ones came, the head."""
        if not message:
            return learner.model
        towards = TowardsMeans(message, self.problem.classes, self.settings.weight)
        return NearestMean(learner.model.extractor, towards).to(learner.device)

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        self.broadcast = average_means(reports, self.problem.classes)
