"""FedKD: Wu et al., "Communication-efficient federated learning via knowledge distillation" (Nature Communications
2022), eq. 1-6.

Up and down: a mentee (the group's first model), each matrix as the singular vectors and values that keep an energy of
0.95 at first and 0.98 at last. On each batch both minimise CE, and, divided by the sum of the two cross-entropies, the
KL divergence from the other's outputs and the MSE between the private features and a learnt map of the mentee's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.learning.learner import EdgeLearner
from ktl.methods.base import weighted_average
from ktl.methods.fml import divergence
from ktl.methods.message import Message, weights_message
from ktl.methods.shared_model import SharedModel
from ktl.models.backbone import FEATURE_DIM
from ktl.models.edge_model import EdgeModel
from ktl.objectives.base import Objective, Step
from ktl.seeds import initialising
from ktl.settings import Meta, Settings


@dataclass(frozen=True)
class CompressionSettings(Settings):
    """How much of the squared singular values what travels keeps: rising from the first round to the last."""

    first_energy: Annotated[float, Meta(gt=0, le=1, description="In the first round.")] = 0.95
    last_energy: Annotated[float, Meta(gt=0, le=1, description="In the last round.")] = 0.98


class AdaptiveMutualDistillation(Objective):
    """Trains the mentee and the feature map beside the private model (the mentor)."""

    def __init__(self, mentee: EdgeModel) -> None:
        super().__init__()
        self.mentee = mentee
        self.map = nn.Linear(FEATURE_DIM, FEATURE_DIM, bias=False)

    def forward(self, step: Step) -> Tensor:
        private = step.classifier_loss
        features = step.features_of(self.mentee, step.images)
        logits = self.mentee.classifier(features)
        own = self.mentee.classifier.loss(logits, step.labels)
        hidden = F.mse_loss(step.features, self.map(features))
        mutual = divergence(logits.detach(), step.logits) + divergence(step.logits.detach(), logits)
        return private + own + (mutual + hidden) / (private + own).detach()


def compress(weights: Message, energy: float) -> Message:
    """Each matrix as u (m, r), s (r,), v (r, n) with the fewest values that hold `energy` of the squared sum.

    Convolutions count as (out, in x k x k). A tensor whose factors would hold more numbers stays as it is.
    """
    factors: dict[str, Tensor] = {}
    for name, tensor in weights.tensors.items():
        if tensor.ndim > 1:
            u, s, v = torch.linalg.svd(tensor.flatten(1), full_matrices=False)
            kept = s.square().cumsum(0) / s.square().sum().clamp_min(1e-30)
            rank = min(int((kept < energy).sum()) + 1, len(s))
            if rank * (u.shape[0] + v.shape[1] + 1) < tensor.numel():
                factors |= {f"{name}/u": u[:, :rank], f"{name}/s": s[:rank], f"{name}/v": v[:rank]}
                factors[f"{name}/counts"] = torch.tensor(tensor.shape)
                continue
        factors[name] = tensor
    return Message(factors, uncounted=weights.uncounted)


def decompress(message: Message) -> Message:
    """What `compress` was given, up to the energy left out."""
    weights: dict[str, Tensor] = {}
    for name, tensor in message.tensors.items():
        if name.endswith("/u"):
            stem = name.removesuffix("/u")
            product = (tensor * message[f"{stem}/s"]) @ message[f"{stem}/v"]
            weights[stem] = product.reshape(message[f"{stem}/counts"].tolist())
        elif "/" not in name:
            weights[name] = tensor
    return Message(weights, uncounted=message.uncounted)


class FedKD(SharedModel):
    """A compressed mentee travels; mentors may be anything."""

    Settings = CompressionSettings

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        return compress(super().answer(round_index, asked), self._energy(round_index))

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        mentee = self.small_model()
        mentee.load_state_dict(dict(decompress(message).tensors))
        with initialising(self.problem.seed, "fedkd", learner.round):
            self._distillation = AdaptiveMutualDistillation(mentee)
        learner.minimise(self._distillation)

    def report(self, learner: EdgeLearner) -> Message:
        return compress(weights_message(self._distillation.mentee), self._energy(learner.round))

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        full = {client: decompress(report) for client, report in reports.items()}
        self.broadcast = weighted_average(full, self.sample_shares(reports))

    def _energy(self, round_index: int) -> float:
        first, last = self.settings.first_energy, self.settings.last_energy
        return float(first + (last - first) * round_index / max(self.problem.rounds - 1, 1))
