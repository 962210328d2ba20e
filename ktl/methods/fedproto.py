"""FedProto: Tan et al., "FedProto: Federated Prototype Learning across Heterogeneous Clients" (AAAI 2022), eq. 6-8.

Up: class-mean features, 512 numbers a class held. Down: their average over clients, 512 C numbers. Edges minimise
L = CE + lambda MSE(f(x), mean of its class), lambda = 10, and predict the class of the nearest mean.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.learning.learner import EdgeLearner
from ktl.methods.base import Message, Method, average_means, class_means, features_of
from ktl.objectives.guidance import Guidance, ShotBatch


class TowardsMeans(Guidance):
    """Adds the weighted squared distance of values to their classes' means, where a mean is known."""

    means: Tensor
    known: Tensor

    def __init__(self, message: Message, classes: int, weight: float, of_outputs: bool = False) -> None:
        super().__init__()
        self.weight = weight
        self.of_outputs = of_outputs
        dense = torch.zeros(classes, message["means"].shape[1]).index_copy_(0, message["classes"], message["means"])
        self.register_buffer("means", dense)
        self.register_buffer("known", torch.zeros(classes, dtype=torch.bool).index_fill_(0, message["classes"], True))

    def forward(self, batch: ShotBatch) -> Tensor:
        values = batch.outputs if self.of_outputs else batch.features
        # a class without a mean is its own target: no pull
        target = torch.where(self.known[batch.labels, None], self.means[batch.labels], values.detach())
        return batch.loss + self.weight * F.mse_loss(values, target)


class NearestMean(nn.Module):
    """images -> minus the squared distance (n, C) of their features to each mean; -inf for an unknown class."""

    means: Tensor
    known: Tensor

    def __init__(self, extractor: nn.Module, towards: TowardsMeans) -> None:
        super().__init__()
        self.extractor = extractor
        self.register_buffer("means", towards.means)
        self.register_buffer("known", towards.known)

    def forward(self, images: Tensor) -> Tensor:
        distances = torch.cdist(self.extractor(images), self.means)
        return (-distances).masked_fill(~self.known, float("-inf"))


class FedProto(Method):
    """Pulls features towards global class means."""

    weight = 10.0
    _global: Message | None = None

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        return self._global or {}

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        learner.guide(TowardsMeans(message, self.problem.classes, self.weight) if message else None)

    def report(self, learner: EdgeLearner) -> Message:
        return class_means(features_of(learner), learner.task.shot_labels, self.problem.classes)

    def predictor(self, learner: EdgeLearner, message: Message) -> nn.Module:
        """The nearest mean; before the first ones came, the head."""
        if not message:
            return learner.model
        towards = TowardsMeans(message, self.problem.classes, self.weight)
        return NearestMean(learner.model.extractor, towards).to(learner.device)

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        self._global = average_means(reports, self.problem.classes)

    def state(self) -> dict[str, Tensor]:
        return self._global or {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self._global = tensors or None
