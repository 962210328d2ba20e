"""LG-FedAvg: Liang et al., "Think Locally, Act Globally" (2020, arXiv 2001.01523), algorithm 1.

Here the heads are what has one shape, so they are global: w <- sum_i (n_i / n) w_i, and the extractors stay local.
Up and down: the head's 513 C numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ktl.learning.learner import EdgeLearner
from ktl.methods.base import Message, Method, head_of, weighted_average


class LGFedAvg(Method):
    """Averages the heads of the clients that took part, weighted by their training images."""

    _head: Message | None = None

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        return self._head or {}

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        if "weight" in message:
            learner.model.classifier.projection.load_state_dict({name: message[name] for name in ("weight", "bias")})

    def report(self, learner: EdgeLearner) -> Message:
        return head_of(learner)

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        self._head = weighted_average(reports, self.sample_counts(reports))

    def state(self) -> dict[str, Tensor]:
        return self._head or {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self._head = tensors or None
