"""LG-FedAvg: Liang et al., "Think Locally, Act Globally" (2020, arXiv 2001.01523), algorithm 1.

Here the heads are what has one shape, so they are global: w <- sum_i (n_i / n) w_i, and the extractors stay local.
Up and down: the head's 513 C numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from ktl.learning.learner import EdgeLearner
from ktl.methods.base import Method, set_head, weighted_average
from ktl.methods.message import Message, weights_message


class LGFedAvg(Method):
    """Averages the heads of the clients that took part, weighted by their training images."""

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        if message:
            set_head(learner, message)

    def report(self, learner: EdgeLearner) -> Message:
        return weights_message(learner.model.classifier.projection)

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        self.broadcast = weighted_average(reports, self.sample_shares(reports))
