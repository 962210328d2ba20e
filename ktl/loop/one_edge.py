"""One edge on its own: a federation of one, which can be watched, stopped and saved after any step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ktl.learning.learner import EdgeLearner
from ktl.learning.schedule import Span
from ktl.learning.stage import MeanLosses
from ktl.loop.clients import Outcome, Stopped, Watch
from ktl.loop.edges import Edges, mean_losses
from ktl.methods.base import Method
from ktl.methods.message import Message


class OneEdge(Edges):
    """A single client, client 0: it is watched step by step, saved within rounds, and kept in the checkpoint itself."""

    watched = True

    def __init__(self, learner: EdgeLearner, method: Method) -> None:
        super().__init__({0: learner.task}, method, lambda client: learner)
        self.learner = learner

    def ask(self, clients: Sequence[int], round_index: int) -> dict[int, Message | str]:
        """What the edge sends before it trains. Raises KtlError: without its only edge a run cannot go on."""
        if not clients:
            return {}
        self.learner.start_round(round_index)
        return {0: self.method.ask(self.learner)}

    def learn(
        self, clients: Sequence[int], round_index: int, message: Message, watch: Watch = Watch()
    ) -> dict[int, Outcome]:
        """The rest of a round. Raises Stopped where the watch says so, and whatever training raises."""
        if not clients:
            return {}
        learner = self.learner
        if not self.begun(round_index):
            learner.start_round(round_index)
            self.method.learn(learner, message)

        def on_step(span: Span, step: int, loss: float) -> None:
            watch.on_step(round_index, span, step, loss)

        if not learner.train_round(on_step, watch.should_stop):
            raise Stopped
        report = self.method.report(learner)
        result = self.evaluate(learner, message)
        outcome = Outcome(report, result.right, result.tested, mean_losses(learner))
        learner.start_round(round_index + 1)
        return {0: outcome}

    def save(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The learner's whole state, of any step."""
        learner = self.learner
        losses = {"sums": learner.losses.sums, "steps": learner.losses.steps}
        return learner.state(), {"round": learner.round, "round_step": learner.round_step, "losses": losses}

    def restore(
        self, folder: Path, tensors: dict[str, Tensor], progress: dict[str, Any], messages: Mapping[int, Message]
    ) -> None:
        """Goes on from what `save` returned."""
        reached, step = int(progress["round"]), int(progress["round_step"])
        for round_index, message in messages.items():
            if round_index < reached or (round_index == reached and step > 0):
                self.learner.start_round(round_index)
                self.method.recall(self.learner, message)
        self.learner.start_round(reached)
        self.learner.round_step = step
        self.learner.losses = MeanLosses(**progress["losses"])
        self.learner.restore(tensors)

    def begun(self, round_index: int) -> bool:
        """Whether a stop or a kill came after the first step of this round."""
        return self.learner.round == round_index and self.learner.round_step > 0
