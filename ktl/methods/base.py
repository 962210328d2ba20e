"""What a federated method is: what an edge sends, what the cloud makes of it, and how an edge uses the answer.

A round is ask (edges, optional) -> answer (cloud) -> learn, train, report (edges) -> collect (cloud), and for some
methods -> close (cloud): then edges are tested with what it sent. The edge's half
runs in the client's process on a copy of the method that knows the settings and nothing of the cloud's state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ktl import settings
from ktl.data.transforms import to_network
from ktl.errors import UsageError
from ktl.learning.evaluation import BATCH
from ktl.learning.learner import EdgeLearner
from ktl.learning.settings import TrainingConfig
from ktl.methods.message import Message
from ktl.models.backbone import FEATURE_DIM
from ktl.models.classifiers import Classifier, LinearClassifier
from ktl.models.edge_model import CLASSIFIERS, ClassifierKind, EdgeModel, build_model
from ktl.registry import subclass
from ktl.seeds import stream
from ktl.wire import SessionRequest


@dataclass(frozen=True)
class Problem:
    """What every party of a run knows before its first round.

    counts (clients, classes) int64: training images; channels and image_size (pixels) of all images; models: client i
    has the model i mod their number; training: the edges' recipe, as the method changed it; request: what is asked of
    a cloud that owns a generator, by methods that have one.
    """

    counts: Tensor
    channels: int
    image_size: int
    models: tuple[str, ...]
    rounds: int
    seed: int
    training: TrainingConfig
    request: SessionRequest

    @property
    def classes(self) -> int:
        """Classes of all clients together."""
        return self.counts.shape[1]


class Exchange(Protocol):
    """A session with a cloud that owns a generator: `ktl.loop.exchange` has the real one."""

    reply: bytes  # how the cloud opened it

    def answered(self, round_index: int, uploads: Mapping[int, bytes]) -> bytes:
        """Pairs of a round, from what its clients upload."""

    def pooled(self, round_index: int, uploads: Mapping[int, bytes]) -> bytes:
        """Class statistics of all clients so far, from those that a round's clients upload after they trained."""

    def rounds(self) -> list[int]:
        """Those that were answered before."""

    def kept(self, round_index: int) -> tuple[Mapping[int, bytes], bytes]:
        """Uploads and pairs of a round that was answered before."""


class Method:
    """Edges that train alone. A method overrides the steps in which it differs.

    The cloud keeps `broadcast` between rounds and sends it to every edge of a round, nothing as long as it is empty.
    Often `collect` puts a new one in its place and there is no more to the cloud: then `answer`, `state` and `restore`
    stay as they are. `self.settings` is an instance of `Settings`, `self.problem` what all parties know.
    """

    Settings: ClassVar[type[settings.Settings]] = settings.NoSettings  # what can be set: a class of the method's own
    uses_pairs: ClassVar[bool] = False  # clients learn from image-vector pairs too, and keep those of earlier rounds
    classifier: ClassifierKind = LinearClassifier  # of the clients' models; a run may choose another
    broadcast = Message()
    exchange: Exchange | None = None  # of the cloud's half where `uses_pairs`; the run opens it

    def __init__(self, settings: Any, problem: Problem) -> None:
        """settings: an instance of `Settings`."""
        self.settings = settings
        self.problem = problem

    @classmethod
    def recipe(cls, training: TrainingConfig) -> TrainingConfig:
        """The clients' recipe, where a method's paper changes it."""
        return training

    @classmethod
    def classifier_named(cls, name: str) -> ClassifierKind:
        """The classifier "etf" or "linear" of the clients' models, or for "own" the method's own.

        Raises UsageError where the method's own is neither, and so part of the method.
        """
        own = cls.classifier
        if name == "own" or issubclass(own, CLASSIFIERS[name]):
            return own
        if own not in CLASSIFIERS.values():
            raise UsageError(f"{cls.__name__} has no {name} classifier, only its {own.__name__}: leave classifier own")
        return CLASSIFIERS[name]

    # the edge's half

    def ask(self, learner: EdgeLearner) -> Message:
        """What an edge sends before it trains."""
        return Message()

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        """Takes the cloud's message into the edge, before it trains."""

    def recall(self, learner: EdgeLearner, message: Message) -> None:
        """Gives an edge that starts anew from a saved state what it keeps of an earlier round's message."""

    def report(self, learner: EdgeLearner) -> Message:
        """What an edge sends after it trained."""
        return Message()

    def predictor(self, learner: EdgeLearner, message: Message) -> nn.Module:
        """What classifies the test images: images in [-1, 1] -> logits or other scores (n, classes).

        `message` is the round's, or what `close` made of it.
        """
        return learner.model

    # the cloud's half

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        """What the cloud sends to every edge of this round; `asked` by client."""
        return self.broadcast

    def answered(self) -> dict[int, tuple[dict[int, Message], Message]]:
        """What was asked, by client, and answered in each round before, where edges keep something of it."""
        return {}

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        """Takes in what the edges that finished the round reported, by client."""

    @property
    def closes_rounds(self) -> bool:
        """Whether `close` sends the edges something that they predict by: then they are tested after it."""
        return False

    def close(self, round_index: int, message: Message, reports: Mapping[int, Message]) -> Message:
        """What the cloud sends, after it collected the reports, to the edges that finished the round."""
        return message

    def state(self) -> Mapping[str, Tensor]:
        """All that the cloud must keep between rounds."""
        return self.broadcast.tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Goes on from what `state` returned."""
        self.broadcast = Message(tensors)

    def numbers_down(self, message: Message) -> int:
        """Numbers that one edge receives, counted as the published comparison counts: as they are, uncompressed."""
        return message.numbers

    def numbers_up(self, message: Message) -> int:
        """Numbers that one edge sends, counted likewise."""
        return message.numbers

    # what several methods need

    def sample_shares(self, clients: Mapping[int, Message]) -> Tensor:
        """Each client's share of the training images of `clients`, float32 (clients,), summing to 1."""
        totals = self.problem.counts[list(clients)].sum(dim=1).double()
        return (totals / totals.sum()).float()

    def new_classifier(self) -> Classifier:
        """One of the clients' kind on 512 features, with initial weights from torch's random numbers."""
        problem = self.problem
        return self.classifier(FEATURE_DIM, problem.classes, problem.training, stream(problem.seed, "etf"))

    def small_model(self) -> EdgeModel:
        """The model group's first model with a linear head: what travels in methods that share a model."""
        problem = self.problem
        return build_model(
            problem.models[0],
            channels=problem.channels,
            image_size=problem.image_size,
            classes=problem.classes,
            seed=problem.seed,
            etf_seed=problem.seed,
            settings=problem.training,
            classifier=LinearClassifier,
        )


checked = subclass(Method, "method")


@torch.no_grad()
def features_of(learner: EdgeLearner, images: Tensor | None = None) -> Tensor:
    """Features (n, 512) of images, uint8 (n, c, size, size), in eval mode: an edge's training images if none."""
    extractor = learner.model.eval().extractor
    batches = (learner.task.shot_images if images is None else images).split(BATCH)
    return torch.cat([extractor(to_network(batch.to(learner.device))).cpu() for batch in batches])


def class_means(values: Tensor, labels: Tensor, classes: int) -> Message:
    """Means (m, d) of `values` (n, d) by class, the classes (m,) that have one, and their sample counts (m,)."""
    counts = labels.bincount(minlength=classes)
    present = counts.nonzero().squeeze(1)
    sums = torch.zeros(classes, values.shape[1]).index_add_(0, labels, values)
    return Message({"means": sums[present] / counts[present, None], "classes": present, "counts": counts[present]})


def average_means(reports: Mapping[int, Message], classes: int) -> Message:
    """The plain mean over clients of their class means (FedProto eq. 6), for the classes that any client has."""
    means = torch.cat([report["means"] for report in reports.values()])
    present = torch.cat([report["classes"] for report in reports.values()])
    averaged = class_means(means, present, classes)
    return Message({"means": averaged["means"], "classes": averaged["classes"]})


def weighted_average(reports: Mapping[int, Message], shares: Tensor) -> Message:
    """The sum over clients of share x tensor, for the floating-point tensors that all clients reported."""
    first = next(iter(reports.values()))
    averaged: dict[str, Tensor] = {}
    for name, tensor in first.tensors.items():
        stacked = torch.stack([report[name] for report in reports.values()])
        if tensor.is_floating_point():
            averaged[name] = torch.einsum("c,c...->...", shares, stacked)
        else:
            averaged[name] = stacked[0]
    return Message(averaged, uncounted=first.uncounted)


def set_head(learner: EdgeLearner, head: Message) -> None:
    """Replaces the weight (C, 512) and bias (C,) of an edge's head."""
    learner.model.classifier.projection.load_state_dict(dict(head.tensors))
