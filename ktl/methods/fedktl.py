"""FedKTL: Zhang et al., "An Upload-Efficient Scheme for Transferring Knowledge" (CVPR 2024), the loop of this project.

Up: class prototypes. Down: image-vector pairs, the same for every edge of a round. With one edge it is KTL.

Beside the paper, with `pool`: pairs teach every extractor, whatever its architecture, to predict a generated image's
latent. After training each edge sends sums of the points that its images have there, and predicts by those of all edges
and its own classifier together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ktl.alignment import ALIGNMENTS
from ktl.class_statistics import MAX_DIMENSION, ClassStatistics, architecture_of, class_statistics
from ktl.errors import UsageError
from ktl.learning.learner import EdgeLearner
from ktl.methods.base import Exchange, Method, Problem, features_of
from ktl.methods.message import Message
from ktl.models.classifiers import EtfClassifier
from ktl.noise_settings import NoiseSettings
from ktl.pairs import ImageVectorPairs
from ktl.prototypes import bare_prototypes
from ktl.settings import Meta
from ktl.shared_space.pooled_model import PooledModel
from ktl.shared_space.space_map import SpaceMap, fit_space_map
from ktl.shared_space.translation import in_terms_of
from ktl.statistics_noise import noise_deviation, secret_rng, with_noise
from ktl.wire import (
    SessionReply,
    decode_message,
    decode_pairs,
    decode_pooled,
    decode_prototypes,
    decode_statistics,
    encode_prototypes,
    encode_statistics,
)


@dataclass(frozen=True)
class PoolingSettings(NoiseSettings):
    """Whether edges learn from each other through sums in the space of the pairs' vectors, and noise on these."""

    pool: (
        Annotated[
            Literal["all", "own", "none"],
            Meta(description="Whose class statistics classify, too; by default all edges', or none if published."),
        ]
        | None
    ) = None


class FedKTL(Method):
    """Payloads are those of `ktl.wire`, so the bytes counted are the bytes that a network would carry."""

    Settings = PoolingSettings
    classifier = EtfClassifier
    uses_pairs = True
    _decoded: tuple[bytes, ImageVectorPairs] | None = None

    def __init__(self, settings: PoolingSettings, problem: Problem) -> None:
        super().__init__(settings, problem)
        # of edges that have trained, until they learn again: what they report and then predict by takes as long to find
        self._mapped: WeakKeyDictionary[EdgeLearner, MappedImages] = WeakKeyDictionary()

    @property
    def pool(self) -> str:
        """Whose class statistics classify beside an edge's own classifier: all edges', its own, or none."""
        by_default = "none" if self.problem.request.alignment == "published" else "all"
        return str(self.settings.pool or by_default)

    def ask(self, learner: EdgeLearner) -> Message:
        reads = ALIGNMENTS.load(self.problem.request.alignment).reads_prototypes
        prototypes = learner.prototypes() if reads else bare_prototypes(learner.task.shot_labels)
        return Message(payloads={"prototypes": encode_prototypes(prototypes)})

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        if not asked:
            return Message()
        if self.closes_rounds and self._dimension > MAX_DIMENSION:
            raise UsageError(
                f"class statistics of {self._dimension} numbers cannot be pooled, only up to {MAX_DIMENSION}: "
                "give --space projection, or set method.pool to none"
            )
        uploads = {client: message.payloads["prototypes"] for client, message in asked.items()}
        return self._message(self._session().answered(round_index, uploads))

    def answered(self) -> dict[int, tuple[dict[int, Message], Message]]:
        rounds = {}
        for round_index in self._session().rounds():
            uploads, pairs = self._session().kept(round_index)
            asked = {client: Message(payloads={"prototypes": payload}) for client, payload in uploads.items()}
            rounds[round_index] = asked, self._message(pairs)
        return rounds

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        self._mapped.pop(learner, None)
        learner.receive(self.pairs_in(message))

    def recall(self, learner: EdgeLearner, message: Message) -> None:
        learner.receive(self.pairs_in(message))

    def report(self, learner: EdgeLearner) -> Message:
        if not self.closes_rounds or learner.pairs is None:
            return Message()
        statistics = self.statistics(learner)
        if (deviation := self.deviation) is not None:
            statistics = with_noise(statistics, deviation, secret_rng())
        return Message(payloads={"statistics": encode_statistics(statistics)})

    def statistics(self, learner: EdgeLearner) -> ClassStatistics:
        """Of the images of an edge that has trained, without noise."""
        mapped = self._mapped[learner] = mapped_images(learner)
        return replace(mapped.statistics, architecture=architecture_of(learner.config.model))

    @property
    def deviation(self) -> float | None:
        """Of the noise that a round's statistics get, on numbers that one image moves by 1; None for none."""
        epsilon = self.settings.epsilon
        return None if epsilon is None else noise_deviation(epsilon, self.settings.delta, self.problem.rounds)

    @property
    def closes_rounds(self) -> bool:
        return self.pool == "all"

    def close(self, round_index: int, message: Message, reports: Mapping[int, Message]) -> Message:
        uploads = {client: report.payloads["statistics"] for client, report in reports.items() if report}
        if not uploads:
            return Message()
        return Message(payloads={"statistics": self._session().pooled(round_index, uploads)})

    def predictor(self, learner: EdgeLearner, message: Message) -> nn.Module:
        """The edge's own model, with class statistics beside it where they have come or are the edge's own."""
        if learner.pairs is None:
            return learner.model
        own = self.pool == "own"
        if not own and "statistics" not in message.payloads:
            return learner.model
        mapped = self._mapped.get(learner) or mapped_images(learner)
        classes = self.problem.classes
        return PooledModel(
            learner.model.extractor,
            learner.model.classifier,
            mapped.space_map,
            mapped.statistics if own else self._of_all(learner, message),
            mapped.features,
            learner.task.shot_labels,
            classes,
        ).to(learner.device)

    def _of_all(self, learner: EdgeLearner, message: Message) -> ClassStatistics:
        """What all edges know, in the terms of the learner's architecture."""
        assert learner.pairs is not None
        payload, dimension = message.payloads["statistics"], learner.pairs.vectors.shape[1]
        parts = decode_pooled(payload, self.problem.classes, dimension)
        return in_terms_of(architecture_of(learner.config.model), parts)

    def numbers_up(self, message: Message) -> int:
        """A prototype of K numbers for each class that the client has; and what its statistics have, if it sent any."""
        if not message:
            return 0
        if "statistics" in message.payloads:
            return self._numbers_in([decode_statistics(message.payloads["statistics"], *self._sizes)])
        return decode_prototypes(message.payloads["prototypes"], self.problem.request.num_classes).vectors.numel()

    def numbers_down(self, message: Message) -> int:
        """Raw pixels and latents; or what statistics have."""
        if "statistics" in message.payloads:
            return self._numbers_in(decode_pooled(message.payloads["statistics"], *self._sizes))
        pairs = self.pairs_in(message)
        return pairs.images.numel() + pairs.vectors.numel()

    def pairs_in(self, message: Message) -> ImageVectorPairs:
        """The pairs of an answer, decoded once for all edges that ask one after the other."""
        payload = message.payloads["pairs"]
        if self._decoded is None or self._decoded[0] != payload:
            reply = decode_message(message.payloads["reply"], SessionReply)
            pairs = decode_pairs(payload, self.problem.request, reply.latent_dim)
            self._decoded = payload, replace(pairs, metric=reply.metric)
        return self._decoded[1]

    def _numbers_in(self, parts: Sequence[ClassStatistics]) -> int:
        """Sums, and the moment's half."""
        return sum(part.sums.numel() + self._dimension * (self._dimension + 1) // 2 for part in parts)

    @property
    def _sizes(self) -> tuple[int, int]:
        """Classes, and numbers in a pair's vector."""
        return self.problem.classes, self._dimension

    @property
    def _dimension(self) -> int:
        """Numbers in a pair's vector."""
        return decode_message(self._session().reply, SessionReply).latent_dim

    def _message(self, pairs: bytes) -> Message:
        return Message(payloads={"pairs": pairs, "reply": self._session().reply})

    def _session(self) -> Exchange:
        if self.exchange is None:
            raise LookupError("the run has not opened a session with a cloud")
        return self.exchange


@dataclass(frozen=True)
class MappedImages:
    """An edge's training images as it sees them now.

    features (n, 512); space_map: from features to unit vectors in the space of its pairs; statistics: of these.
    """

    features: Tensor
    space_map: SpaceMap
    statistics: ClassStatistics


@torch.no_grad()
def mapped_images(learner: EdgeLearner) -> MappedImages:
    """Of an edge that has received at least one pair."""
    pairs = learner.pairs
    assert pairs is not None
    space_map = fit_space_map(features_of(learner, pairs.images), pairs.vectors, metric=pairs.metric)
    features = features_of(learner)
    return MappedImages(features, space_map, class_statistics(space_map(features), learner.task.shot_labels))
