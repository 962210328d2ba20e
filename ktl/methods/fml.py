"""FML: Shen et al., "Federated Mutual Learning" (2020, arXiv 2006.16765), eq. 3-4.

Up and down: a small shared model (the group's first). On each batch the private model minimises
alpha CE + (1 - alpha) KL(shared || private) and the shared one beta CE + (1 - beta) KL(private || shared), each over
its own weights; alpha = beta = 0.5, gradient norms clipped at 10. The cloud averages by sample counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from ktl.learning.learner import EdgeLearner
from ktl.learning.settings import TrainingConfig
from ktl.methods.base import weighted_average
from ktl.methods.message import Message, weights_message
from ktl.methods.shared_model import SharedModel
from ktl.models.edge_model import EdgeModel
from ktl.objectives.base import Objective, Step
from ktl.settings import Meta, Settings


@dataclass(frozen=True)
class MutualSettings(Settings):
    """How much each model learns from labels rather than from the other model."""

    alpha: Annotated[float, Meta(ge=0, le=1, description="Of the private model's cross-entropy.")] = 0.5
    beta: Annotated[float, Meta(ge=0, le=1, description="Of the shared model's cross-entropy.")] = 0.5


class MutualLearning(Objective):
    """Trains a shared model beside the private one, each taught by the other."""

    def __init__(self, shared: EdgeModel, settings: MutualSettings) -> None:
        super().__init__()
        self.shared = shared
        self.settings = settings

    def forward(self, step: Step) -> Tensor:
        alpha, beta = self.settings.alpha, self.settings.beta
        private_loss = step.classifier_loss
        logits = self.shared.classifier(step.features_of(self.shared, step.images))
        private = alpha * private_loss + (1 - alpha) * divergence(logits.detach(), step.logits)
        own: Tensor = self.shared.classifier.loss(logits, step.labels)
        return private + beta * own + (1 - beta) * divergence(step.logits.detach(), logits)


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(teacher || student) of softmax outputs from logits (n, C), mean over the batch."""
    return F.kl_div(student.log_softmax(1), teacher.log_softmax(1), log_target=True, reduction="batchmean")


class FML(SharedModel):
    """A small model travels; private models may be anything."""

    Settings = MutualSettings

    @classmethod
    def recipe(cls, training: TrainingConfig) -> TrainingConfig:
        return replace(training, gradient_norm=10.0)

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        shared = self.small_model()
        shared.load_state_dict(dict(message.tensors))
        self._mutual = MutualLearning(shared, self.settings)
        learner.minimise(self._mutual)

    def report(self, learner: EdgeLearner) -> Message:
        return weights_message(self._mutual.shared)

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        self.broadcast = weighted_average(reports, self.sample_shares(reports))
