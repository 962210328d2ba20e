"""FedGH: Yi et al., "FedGH: Heterogeneous Federated Learning with Generalized Global Header" (ACM MM 2023), eq. 7-8.

Up: class-mean features, 512 numbers per class that a client has. Down: the head that the cloud trained on them, 513 C
numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.learning.learner import EdgeLearner
from ktl.methods.base import Method, class_means, features_of, set_head
from ktl.methods.message import Message, weights_message
from ktl.models.classifiers import Classifier
from ktl.seeds import initialising, stream
from ktl.settings import Meta, Settings


@dataclass(frozen=True)
class GlobalHeadSettings(Settings):
    """How the cloud trains its head."""

    learning_rate: Annotated[float, Meta(gt=0, description="Of the cloud's SGD.")] = 0.01
    batch: Annotated[int, Meta(ge=1, description="Means per step of the cloud.")] = 10


class FedGH(Method):
    """The cloud's head lives on; each round it passes once over the reported means, by SGD on the cross-entropy."""

    Settings = GlobalHeadSettings
    _head: Classifier | None = None

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        return Message() if self._head is None else weights_message(self._head.projection)

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        if message:
            set_head(learner, message)

    def report(self, learner: EdgeLearner) -> Message:
        return class_means(features_of(learner), learner.task.shot_labels, self.problem.classes)

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        means = torch.cat([report["means"] for report in reports.values()])
        classes = torch.cat([report["classes"] for report in reports.values()])
        head = self._head or self._new_head()
        optimizer = torch.optim.SGD(head.parameters(), lr=self.settings.learning_rate)
        order = torch.randperm(len(classes), generator=stream(self.problem.seed, "fedgh", round_index))
        for index in order.split(self.settings.batch):
            optimizer.zero_grad()
            F.cross_entropy(head(means[index]), classes[index]).backward()
            optimizer.step()
        self._head = head

    def state(self) -> Mapping[str, Tensor]:
        return {} if self._head is None else self._head.projection.state_dict()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        if tensors:
            self._head = self._new_head()
            self._head.projection.load_state_dict(tensors)

    def _new_head(self) -> Classifier:
        with initialising(self.problem.seed, "fedgh"):
            return self.new_classifier()
