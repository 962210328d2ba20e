"""What a federated method is: what an edge sends, what the cloud makes of it, and how an edge uses the answer.

A round is ask (edges, optional) -> answer (cloud) -> learn, train, report (edges) -> collect (cloud). The edge's half
runs in the client's process on a copy of the method that knows the configuration and nothing of the cloud's state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ktl.config import FederationConfig, TrainingConfig
from ktl.data.transforms import to_network
from ktl.learning.evaluation import BATCH
from ktl.learning.learner import EdgeLearner
from ktl.models import client_model
from ktl.models.edge_model import EdgeModel, build_model

Message = dict[str, Tensor]
"""What travels, by name; a key that ends with "counts" is not counted by the published accounting."""


@dataclass(frozen=True)
class Problem:
    """What every party knows: counts (clients, classes) int64 of training images, and the common shape of images."""

    counts: Tensor
    channels: int
    image_size: int

    @property
    def classes(self) -> int:
        """Classes of all clients together."""
        return self.counts.shape[1]


class Method:
    """Local training. A method overrides the steps in which it differs."""

    head = "linear"  # of the clients' models
    local_only = True  # False: clients train on image-vector pairs too, and keep those of earlier rounds

    def __init__(self, config: FederationConfig, problem: Problem) -> None:
        self.config = config
        self.problem = problem

    @classmethod
    def training(cls, training: TrainingConfig) -> TrainingConfig:
        """The clients' recipe, where a method's paper changes it."""
        return training

    # the edge's half

    def ask(self, learner: EdgeLearner) -> Message:
        """What an edge sends before it trains."""
        return {}

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        """Takes the cloud's message into the edge, before it trains."""

    def recall(self, learner: EdgeLearner, message: Message) -> None:
        """Gives an edge that starts anew from a saved state what it keeps of an earlier round's message."""

    def report(self, learner: EdgeLearner) -> Message:
        """What an edge sends after it trained."""
        return {}

    def predictor(self, learner: EdgeLearner, message: Message) -> nn.Module:
        """What classifies the test images: images in [-1, 1] -> scores (n, classes)."""
        return learner.model

    # the cloud's half

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        """What the cloud sends to every edge of this round; `asked` by client."""
        return {}

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        """Takes in what the edges that finished the round reported, by client."""

    def state(self) -> dict[str, Tensor]:
        """All that the cloud must keep between rounds."""
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Goes on from what `state` returned."""

    def numbers_down(self, message: Message) -> int:
        """Numbers that one edge receives, counted as the published comparison counts: as they are, uncompressed."""
        return numbers(message)

    def numbers_up(self, message: Message) -> int:
        """Numbers that one edge sends, counted likewise."""
        return numbers(message)

    # what several methods need

    def sample_counts(self, clients: Mapping[int, Message]) -> Tensor:
        """Training images (clients,) of each client in `clients`, float32, as shares that sum to 1."""
        totals = self.problem.counts[list(clients)].sum(dim=1).double()
        return (totals / totals.sum()).float()

    def small_model(self) -> EdgeModel:
        """The model group's first model with a linear head: what travels in methods that share a model."""
        return build_model(
            client_model(self.config.models, client=0),
            channels=self.problem.channels,
            image_size=self.problem.image_size,
            classes=self.problem.classes,
            seed=self.config.seed,
            etf_seed=self.config.seed,
            head="linear",
        )


def numbers(message: Message) -> int:
    """Numbers in a message, but for counts, class indices and the running statistics of batch normalisation."""
    counted = (t for name, t in message.items() if not name.endswith("counts") and ".running_" not in name)
    return sum(tensor.numel() for tensor in counted if tensor.is_floating_point())


@torch.no_grad()
def features_of(learner: EdgeLearner) -> Tensor:
    """Features (n, 512) of an edge's training images, in eval mode."""
    extractor = learner.model.eval().extractor
    batches = learner.task.shot_images.split(BATCH)
    return torch.cat([extractor(to_network(batch.to(learner.device))).cpu() for batch in batches])


def class_means(values: Tensor, labels: Tensor, classes: int) -> Message:
    """Means (held, d) of `values` (n, d) by class, the classes held, and the counts of samples behind each."""
    counts = labels.bincount(minlength=classes)
    held = counts.nonzero().squeeze(1)
    sums = torch.zeros(classes, values.shape[1]).index_add_(0, labels, values)
    return {"means": sums[held] / counts[held, None], "classes": held, "counts": counts[held]}


def average_means(reports: Mapping[int, Message], classes: int) -> Message:
    """The plain mean over clients of their class means (FedProto eq. 6), for the classes that anyone holds."""
    means = torch.cat([report["means"] for report in reports.values()])
    held = torch.cat([report["classes"] for report in reports.values()])
    averaged = class_means(means, held, classes)
    return {"means": averaged["means"], "classes": averaged["classes"]}


def weighted_average(reports: Mapping[int, Message], shares: Tensor) -> Message:
    """The sum over clients of share x tensor, for the floating-point tensors that all clients reported."""
    first = next(iter(reports.values()))
    averaged: Message = {}
    for name, tensor in first.items():
        stacked = torch.stack([report[name] for report in reports.values()])
        if tensor.is_floating_point():
            averaged[name] = torch.einsum("c,c...->...", shares, stacked)
        else:
            averaged[name] = stacked[0]
    return averaged


def head_of(learner: EdgeLearner) -> Message:
    """A copy of the linear head's weight (C, 512) and bias (C,)."""
    return {name: t.detach().cpu().clone() for name, t in learner.model.classifier.projection.state_dict().items()}
