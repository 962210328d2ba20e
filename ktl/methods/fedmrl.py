"""FedMRL: Yi et al., "Federated Model Heterogeneous Matryoshka Representation Learning" (NeurIPS 2024, arXiv
2406.00488).

Up and down: a small shared model (the group's first) with d1 = 128 features and a head on them. A linear projector P of
each client fuses both models' features, r = P(shared, private) of d2 = 512 numbers; its first d1 are a representation
of their own. All weights minimise CE(shared head(r[:d1])) + CE(private head(r)), each with weight 1. The cloud averages
shared models by sample counts; projector, private extractor and private head stay. The private head predicts from r.

Where it differs from the paper: it has d2 = 500, and finds a smaller d1 better; 128 of 512, pooled from the shared
model's 512, are those of HtFLlib. The recipe is ktl's, where the published code has SGD with momentum: the shared
model's optimizer starts anew each round, as in FML; the projector is trained, and kept, with the private head.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ktl.learning.learner import EdgeLearner
from ktl.methods.base import weighted_average
from ktl.methods.message import Message, weights_message
from ktl.methods.shared_model import SharedModel
from ktl.models.classifiers import LinearClassifier
from ktl.models.edge_model import EdgeModel
from ktl.models.settings import ClassifierSettings
from ktl.objectives.base import Objective, Step
from ktl.seeds import initialising

SHARED_DIM = 128  # d1


class FusedClassifier(LinearClassifier):
    """A linear head on fused features (n, d2) -> logits (n, classes), and the projector that fuses them."""

    def __init__(
        self, feature_dim: int, classes: int, settings: ClassifierSettings, rng: torch.Generator | None = None
    ) -> None:
        super().__init__(feature_dim, classes, settings)
        self.projector = nn.Linear(SHARED_DIM + feature_dim, feature_dim)

    def fuse(self, shared: Tensor, private: Tensor) -> Tensor:
        """P(shared features (n, d1), private features (n, d2)), float32 (n, d2)."""
        fused: Tensor = self.projector(torch.cat([shared, private], dim=1))
        return fused


class Matryoshka(Objective):
    """Trains a shared model beside the private one: one head on the first d1 fused features, the other on all."""

    def __init__(self, shared: EdgeModel) -> None:
        super().__init__()
        self.shared = shared

    def forward(self, step: Step) -> Tensor:
        private, shared = step.model.classifier, self.shared.classifier
        assert isinstance(private, FusedClassifier)  # what FedMRL gives its clients
        fused = private.fuse(step.features_of(self.shared, step.images), step.features)
        fine = private.loss(private(fused), step.labels)
        return shared.loss(shared(fused[:, :SHARED_DIM]), step.labels) + fine


class FusedModel(nn.Module):
    """images -> logits (n, classes) of the private head on what a client makes of both models' features."""

    def __init__(self, private: EdgeModel, shared: EdgeModel) -> None:
        super().__init__()
        self.private = private
        self.shared = shared

    def forward(self, images: Tensor) -> Tensor:
        classifier = self.private.classifier
        assert isinstance(classifier, FusedClassifier)
        fused = classifier.fuse(self.shared.extractor(images), self.private.extractor(images))
        logits: Tensor = classifier(fused)
        return logits


class FedMRL(SharedModel):
    """A small model travels, and its features are fused with those of private models, which may be anything."""

    classifier = FusedClassifier
    _learner: EdgeLearner | None = None  # that trained last, and with it `_shared`

    def small_model(self) -> EdgeModel:
        """The group's first model, pooled to d1 features, with a linear head on them."""
        problem = self.problem
        extractor = nn.Sequential(super().small_model().extractor, nn.AdaptiveAvgPool1d(SHARED_DIM))
        with initialising(problem.seed, "fedmrl"):
            return EdgeModel(extractor, LinearClassifier(SHARED_DIM, problem.classes, problem.training))

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        self._learner, self._shared = learner, self._received(message)
        learner.minimise(Matryoshka(self._shared))

    def report(self, learner: EdgeLearner) -> Message:
        return weights_message(self._shared)

    def predictor(self, learner: EdgeLearner, message: Message) -> nn.Module:
        """With the shared model as this edge trained it; as it came, if the edge did not train."""
        shared = self._shared if learner is self._learner else self._received(message)
        return FusedModel(learner.model, shared.to(learner.device))

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        self.broadcast = weighted_average(reports, self.sample_shares(reports))

    def _received(self, message: Message) -> EdgeModel:
        shared = self.small_model()
        shared.load_state_dict(dict(message.tensors))
        return shared
