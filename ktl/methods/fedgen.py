"""FedGen: Zhu et al., "Data-Free Knowledge Distillation for Heterogeneous Federated Learning" (ICML 2021), eq. 3-6.

Up: heads, 513 C numbers. Down: the averaged head and a generator of features from noise and a class, trained so that
the heads, weighted by each client's share of a class, recognise the class. Edges add the cross-entropy of their head on
generated features of classes drawn from the global label counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.checkpoint import prefixed, under
from ktl.learning.learner import EdgeLearner
from ktl.methods.base import Message, Method, head_of, weighted_average
from ktl.models.backbone import FEATURE_DIM
from ktl.models.edge_model import LinearClassifier
from ktl.objectives.guidance import Guidance, ShotBatch
from ktl.seeds import initialising, stream

NOISE_DIM = 32
LEARNING_RATE = 0.1
STEPS = 100
BATCH = 10


class FeatureGenerator(nn.Sequential):
    """Noise and one-hot class (n, 32 + C) -> features (n, 512)."""

    def __init__(self, classes: int) -> None:
        super().__init__(
            nn.Linear(NOISE_DIM + classes, FEATURE_DIM),
            nn.BatchNorm1d(FEATURE_DIM),
            nn.ReLU(),
            nn.Linear(FEATURE_DIM, FEATURE_DIM),
        )

    def draw(self, labels: Tensor, classes: int, rng: torch.Generator) -> Tensor:
        """Features (n, 512) of classes `labels` (n,)."""
        noise = torch.randn(len(labels), NOISE_DIM, generator=rng).to(labels.device)
        features: Tensor = self(torch.cat([noise, F.one_hot(labels, classes).float()], dim=1))
        return features


class GeneratedFeatures(Guidance):
    """Adds the head's cross-entropy on generated features, as many as the batch has images."""

    def __init__(self, generator: FeatureGenerator, classifier: nn.Module, label_shares: Tensor) -> None:
        super().__init__()
        self._frozen = [generator.eval(), classifier]  # in a list: neither is trained as the guidance's own
        self.label_shares = label_shares

    def forward(self, batch: ShotBatch) -> Tensor:
        generator, classifier = self._frozen
        assert isinstance(generator, FeatureGenerator)
        labels = torch.multinomial(self.label_shares, len(batch.labels), replacement=True, generator=batch.rng)
        labels = labels.to(batch.labels.device)
        with torch.no_grad():
            features = generator.to(labels.device).draw(labels, len(self.label_shares), batch.rng)
        return batch.loss + F.cross_entropy(classifier(features), labels)


class FedGen(Method):
    """Shares heads, and what the heads together know, as a generator."""

    _head: Message | None = None

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        if self._head is None:
            return {}
        return prefixed("head", self._head) | prefixed("generator", self._generator().state_dict())

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        if not message:
            return
        learner.model.classifier.projection.load_state_dict(under("head", message))
        generator = FeatureGenerator(self.problem.classes)
        generator.load_state_dict(under("generator", message))
        learner.guide(GeneratedFeatures(generator, learner.model.classifier, self._label_shares()))

    def report(self, learner: EdgeLearner) -> Message:
        return head_of(learner)

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        self._head = weighted_average(reports, self.sample_counts(reports))
        heads = []
        for report in reports.values():
            head = LinearClassifier(FEATURE_DIM, self.problem.classes).requires_grad_(False)
            head.projection.load_state_dict(report)
            heads.append(head)
        held = self.problem.counts[list(reports)].float()
        shares = held / held.sum(dim=0).clamp_min(1.0)  # of each class, over the clients
        generator = self._generator().train()
        optimizer = torch.optim.Adam(generator.parameters(), lr=LEARNING_RATE)
        rng = stream(self.config.seed, "fedgen", round_index)
        for _ in range(STEPS):
            labels = torch.multinomial(held.sum(dim=0), BATCH, replacement=True, generator=rng)
            features = generator.draw(labels, self.problem.classes, rng)
            logits = torch.stack([head(features) for head in heads])
            ensemble = torch.einsum("hn,hnc->nc", shares[:, labels], logits)
            optimizer.zero_grad()
            F.cross_entropy(ensemble, labels).backward()
            optimizer.step()

    def state(self) -> dict[str, Tensor]:
        return self.answer(0, {})

    def restore(self, tensors: dict[str, Tensor]) -> None:
        if tensors:
            self._head = under("head", tensors)
            self._generator().load_state_dict(under("generator", tensors))

    def _label_shares(self) -> Tensor:
        totals = self.problem.counts.sum(dim=0).float()
        return totals / totals.sum()

    def _generator(self) -> FeatureGenerator:
        if not hasattr(self, "_made"):
            with initialising(self.config.seed, "fedgen"):
                self._made = FeatureGenerator(self.problem.classes)
        return self._made
