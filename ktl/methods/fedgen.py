"""FedGen: Zhu et al., "Data-Free Knowledge Distillation for Heterogeneous Federated Learning" (ICML 2021), eq. 3-6.

Up: heads, 513 C numbers. Down: the averaged head and a generator of features from noise and a class, trained so that
the heads, weighted by each client's share of a class, recognise the class. Edges add the cross-entropy of their head on
generated features of classes drawn from the global label counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.checkpoint import prefixed, under
from ktl.learning.learner import EdgeLearner
from ktl.methods.base import Method, weighted_average
from ktl.methods.message import Message, weights_message
from ktl.models.backbone import FEATURE_DIM
from ktl.objectives.base import ClassifierLoss, Objective, Step
from ktl.seeds import initialising, stream
from ktl.settings import Meta, Settings


@dataclass(frozen=True)
class FeatureGeneratorSettings(Settings):
    """The generator of features, and how the cloud trains it."""

    noise_dim: Annotated[int, Meta(ge=1, le=65_536, description="Numbers of noise per drawn feature vector.")] = 32
    learning_rate: Annotated[float, Meta(gt=0, description="Of the cloud's Adam.")] = 0.1
    steps: Annotated[int, Meta(ge=1, description="Of the cloud, per round.")] = 100
    batch: Annotated[int, Meta(ge=1, description="Feature vectors per step of the cloud.")] = 10


class FeatureGenerator(nn.Sequential):
    """Noise and one-hot class (n, noise_dim + C) -> features (n, 512)."""

    def __init__(self, classes: int, noise_dim: int) -> None:
        super().__init__(
            nn.Linear(noise_dim + classes, FEATURE_DIM),
            nn.BatchNorm1d(FEATURE_DIM),
            nn.ReLU(),
            nn.Linear(FEATURE_DIM, FEATURE_DIM),
        )
        self.classes = classes
        self.noise_dim = noise_dim

    def draw(self, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Features (n, 512) of classes `labels` (n,)."""
        noise = torch.randn(len(labels), self.noise_dim, generator=rng).to(labels.device)
        features: Tensor = self(torch.cat([noise, F.one_hot(labels, self.classes).float()], dim=1))
        return features


class GeneratedFeatures(Objective):
    """The head's cross-entropy on generated features, as many as the batch has images."""

    def __init__(self, generator: FeatureGenerator, label_shares: Tensor) -> None:
        super().__init__()
        self._frozen = [generator.eval()]  # in a list: it is not trained along
        self.label_shares = label_shares

    def forward(self, step: Step) -> Tensor:
        (generator,) = self._frozen
        labels = torch.multinomial(self.label_shares, len(step.labels), replacement=True, generator=step.rng)
        labels = labels.to(step.labels.device)
        with torch.no_grad():
            features = generator.to(labels.device).draw(labels, step.rng)
        return F.cross_entropy(step.model.classifier(features), labels)


class FedGen(Method):
    """Shares heads, and what the heads together know, as a generator."""

    Settings = FeatureGeneratorSettings
    _head = Message()

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        if not self._head:
            return Message()
        generator = weights_message(self._generator())
        return Message(
            prefixed("head", dict(self._head.tensors)) | prefixed("generator", dict(generator.tensors)),
            uncounted=frozenset(f"generator/{name}" for name in generator.uncounted),
        )

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        if not message:
            return
        learner.model.classifier.projection.load_state_dict(under("head", message.tensors))
        generator = self._new_generator()
        generator.load_state_dict(under("generator", message.tensors))
        learner.minimise(ClassifierLoss(), GeneratedFeatures(generator, self._label_shares()))

    def report(self, learner: EdgeLearner) -> Message:
        return weights_message(learner.model.classifier.projection)

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        self._head = weighted_average(reports, self.sample_shares(reports))
        heads = []
        for report in reports.values():
            head = self.new_classifier().requires_grad_(False)
            head.projection.load_state_dict(dict(report.tensors))
            heads.append(head)
        counts = self.problem.counts[list(reports)].float()
        shares = counts / counts.sum(dim=0).clamp_min(1.0)  # of each class, over the clients
        generator = self._generator().train()
        optimizer = torch.optim.Adam(generator.parameters(), lr=self.settings.learning_rate)
        rng = stream(self.problem.seed, "fedgen", round_index)
        for _ in range(self.settings.steps):
            labels = torch.multinomial(counts.sum(dim=0), self.settings.batch, replacement=True, generator=rng)
            features = generator.draw(labels, rng)
            logits = torch.stack([head(features) for head in heads])
            ensemble = torch.einsum("hn,hnc->nc", shares[:, labels], logits)
            optimizer.zero_grad()
            F.cross_entropy(ensemble, labels).backward()
            optimizer.step()

    def state(self) -> Mapping[str, Tensor]:
        return self.answer(0, {}).tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        if tensors:
            self._head = Message(under("head", tensors))
            self._generator().load_state_dict(under("generator", tensors))

    def _label_shares(self) -> Tensor:
        totals = self.problem.counts.sum(dim=0).float()
        return totals / totals.sum()

    def _generator(self) -> FeatureGenerator:
        """The cloud's own, made when it is first asked for."""
        if not hasattr(self, "_made"):
            with initialising(self.problem.seed, "fedgen"):
                self._made = self._new_generator()
        return self._made

    def _new_generator(self) -> FeatureGenerator:
        return FeatureGenerator(self.problem.classes, self.settings.noise_dim)
