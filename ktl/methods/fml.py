"""FML: Shen et al., "Federated Mutual Learning" (2020, arXiv 2006.16765), eq. 3-4.

Up and down: a small shared model (the group's first). On each batch the private model minimises
alpha CE + (1 - alpha) KL(shared || private) and the shared one beta CE + (1 - beta) KL(private || shared), each over
its own weights; alpha = beta = 0.5, gradient norms clipped at 10. The cloud averages by sample counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from ktl.config import TrainingConfig
from ktl.learning.learner import EdgeLearner
from ktl.learning.precision import features_in
from ktl.methods.base import Message, Method, weighted_average
from ktl.models.edge_model import EdgeModel
from ktl.objectives.guidance import Guidance, ShotBatch

ALPHA = BETA = 0.5


class MutualLearning(Guidance):
    """Trains a shared model beside the private one, each taught by the other."""

    def __init__(self, shared: EdgeModel, smoothing: float) -> None:
        super().__init__()
        self.shared = shared
        self.smoothing = smoothing

    def forward(self, batch: ShotBatch) -> Tensor:
        outputs = self.shared.classifier(features_in(batch.dtype, self.shared.extractor, batch.images))
        private = ALPHA * batch.loss + (1 - ALPHA) * divergence(outputs.detach(), batch.outputs)
        own = F.cross_entropy(outputs, batch.labels, label_smoothing=self.smoothing)
        return private + BETA * own + (1 - BETA) * divergence(batch.outputs.detach(), outputs)


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(teacher || student) of softmax outputs from logits (n, C), mean over the batch."""
    return F.kl_div(student.log_softmax(1), teacher.log_softmax(1), log_target=True, reduction="batchmean")


class FML(Method):
    """A small model travels; private models may be anything."""

    _shared: Message | None = None

    @classmethod
    def training(cls, training: TrainingConfig) -> TrainingConfig:
        return replace(training, gradient_norm=10.0)

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        return self._shared or {name: t.clone() for name, t in self.small_model().state_dict().items()}

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        shared = self.small_model()
        shared.load_state_dict(message)
        self._guidance = MutualLearning(shared, self.config.training.smoothing)
        learner.guide(self._guidance)

    def report(self, learner: EdgeLearner) -> Message:
        return {name: t.detach().cpu().clone() for name, t in self._guidance.shared.state_dict().items()}

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        self._shared = weighted_average(reports, self.sample_counts(reports))

    def state(self) -> dict[str, Tensor]:
        return self._shared or {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self._shared = tensors or None
