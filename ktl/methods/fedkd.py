"""FedKD: Wu et al., "Communication-efficient federated learning via knowledge distillation" (Nature Communications
2022), eq. 1-6.

Up and down: a mentee (the group's first model), each matrix as the singular vectors and values that keep an energy of
0.95 at first and 0.98 at last. On each batch both minimise CE, and, divided by the sum of the two cross-entropies, the
KL divergence from the other's outputs and the MSE between the private features and a learnt map of the mentee's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.learning.learner import EdgeLearner
from ktl.learning.precision import features_in
from ktl.methods.base import Message, Method, weighted_average
from ktl.methods.fml import divergence
from ktl.models.backbone import FEATURE_DIM
from ktl.models.edge_model import EdgeModel
from ktl.objectives.guidance import Guidance, ShotBatch
from ktl.seeds import initialising

FIRST_ENERGY, LAST_ENERGY = 0.95, 0.98


class AdaptiveMutualDistillation(Guidance):
    """Trains the mentee and the feature map beside the private model (the mentor)."""

    def __init__(self, mentee: EdgeModel, smoothing: float) -> None:
        super().__init__()
        self.mentee = mentee
        self.map = nn.Linear(FEATURE_DIM, FEATURE_DIM, bias=False)
        self.smoothing = smoothing

    def forward(self, batch: ShotBatch) -> Tensor:
        features = features_in(batch.dtype, self.mentee.extractor, batch.images)
        outputs = self.mentee.classifier(features)
        own = F.cross_entropy(outputs, batch.labels, label_smoothing=self.smoothing)
        hidden = F.mse_loss(batch.features, self.map(features))
        mutual = divergence(outputs.detach(), batch.outputs) + divergence(batch.outputs.detach(), outputs)
        return batch.loss + own + (mutual + hidden) / (batch.loss + own).detach()


def compress(weights: Message, energy: float) -> Message:
    """Each matrix as u (m, r), s (r,), v (r, n) with the fewest values that hold `energy` of the squared sum.

    Convolutions count as (out, in x k x k). A tensor whose factors would hold more numbers stays as it is.
    """
    message: Message = {}
    for name, tensor in weights.items():
        if tensor.ndim > 1:
            u, s, v = torch.linalg.svd(tensor.flatten(1), full_matrices=False)
            kept = s.square().cumsum(0) / s.square().sum().clamp_min(1e-30)
            rank = min(int((kept < energy).sum()) + 1, len(s))
            if rank * (u.shape[0] + v.shape[1] + 1) < tensor.numel():
                message |= {f"{name}/u": u[:, :rank], f"{name}/s": s[:rank], f"{name}/v": v[:rank]}
                message[f"{name}/counts"] = torch.tensor(tensor.shape)
                continue
        message[name] = tensor
    return message


def decompress(message: Message) -> Message:
    """What `compress` was given, up to the energy left out."""
    weights: Message = {}
    for name, tensor in message.items():
        if name.endswith("/u"):
            stem = name.removesuffix("/u")
            product = (tensor * message[f"{stem}/s"]) @ message[f"{stem}/v"]
            weights[stem] = product.reshape(message[f"{stem}/counts"].tolist())
        elif "/" not in name:
            weights[name] = tensor
    return weights


class FedKD(Method):
    """A compressed mentee travels; mentors may be anything."""

    _mentee: Message | None = None

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        weights = self._mentee or {name: t.clone() for name, t in self.small_model().state_dict().items()}
        return compress(weights, self._energy(round_index))

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        mentee = self.small_model()
        mentee.load_state_dict(decompress(message))
        with initialising(self.config.seed, "fedkd", learner.round):
            self._guidance = AdaptiveMutualDistillation(mentee, self.config.training.smoothing)
        learner.guide(self._guidance)

    def report(self, learner: EdgeLearner) -> Message:
        weights = {name: t.detach().cpu() for name, t in self._guidance.mentee.state_dict().items()}
        return compress(weights, self._energy(learner.round))

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        full = {client: decompress(report) for client, report in reports.items()}
        self._mentee = weighted_average(full, self.sample_counts(reports))

    def state(self) -> dict[str, Tensor]:
        return self._mentee or {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self._mentee = tensors or None

    def _energy(self, round_index: int) -> float:
        return FIRST_ENERGY + (LAST_ENERGY - FIRST_ENERGY) * round_index / max(self.config.rounds - 1, 1)
