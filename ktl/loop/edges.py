"""The edges of one process: `EdgeLearner`s side by side, each with its own images, run one after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ktl.checkpoint import load_checkpoint, save_checkpoint
from ktl.data.fewshot import FewShotTask
from ktl.errors import DataError, KtlError
from ktl.learning.evaluation import Evaluation, evaluate
from ktl.learning.learner import EdgeLearner
from ktl.learning.stage import MeanLosses
from ktl.loop.clients import Outcome, Watch
from ktl.methods.base import Method
from ktl.methods.message import Message


class Edges:
    """Some of a run's clients, by number; implements `Clients`.

    `make` builds the learner of a client anew, with its initial weights.
    """

    watched = False

    def __init__(
        self,
        tasks: Mapping[int, FewShotTask],
        method: Method,
        make: Callable[[int], EdgeLearner],
        deadline: float | None = None,
    ) -> None:
        self.method = method
        self.deadline = deadline  # seconds that a client may train in a round
        self._make = make
        self.received: dict[int, list[int]] = {client: [] for client in tasks}
        self.messages: dict[int, Message] = {}  # of the rounds whose messages are kept
        self.learners = {client: make(client) for client in tasks}
        self.versions = dict.fromkeys(tasks, 0)
        self._warmed: dict[str, tuple[int, dict[str, Tensor], MeanLosses]] = {}

    def ask(self, clients: Sequence[int], round_index: int) -> dict[int, Message | str]:
        """What each client sends before it trains, or why it cannot."""
        answers: dict[int, Message | str] = {}
        for client in clients:
            learner = self.learners[client]
            learner.start_round(round_index)
            try:
                answers[client] = self.method.ask(learner)
            except KtlError as error:
                answers[client] = str(error)
        return answers

    def learn(
        self, clients: Sequence[int], round_index: int, message: Message, watch: Watch = Watch()
    ) -> dict[int, Outcome]:
        """One round of each client. One that fails, diverges or is late goes back to where it was before."""
        if self.method.uses_pairs:
            self.messages[round_index] = message
        return {client: self._learn(client, round_index, message) for client in clients}

    def test(self, clients: Sequence[int], message: Message) -> dict[int, tuple[int, int]]:
        """Test images classified right, and in all, of each client as it is."""
        return {client: self._test(self.learners[client], message) for client in clients}

    def save(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Writes what changed since the last call, a file per client, one after the other: memory for one is enough.

        Returns each client's version, which `restore` needs: the rounds until it last trained, 0 for its initial state.
        """
        folder.mkdir(exist_ok=True)
        for client, version in self.versions.items():
            path = client_file(folder, client, version)
            if version > 0 and not path.exists():  # the same version has the same bits
                save_checkpoint(path, self.learners[client].state(), {"received": self.received[client]})
        return {}, {str(client): version for client, version in self.versions.items()}

    def restore(
        self, folder: Path, tensors: dict[str, Tensor], progress: dict[str, Any], messages: Mapping[int, Message]
    ) -> None:
        """Goes on from files that `save` wrote and the messages of the rounds before."""
        self.messages = dict(messages)
        for client in self.learners:
            version = self.versions[client] = int(progress[str(client)])
            if version > 0:
                state, metadata = load_checkpoint(client_file(folder, client, version))
                self.received[client] = metadata["received"]
                self._revive(client, state)

    def tidy(self, folder: Path) -> None:
        """Removes the files of this process's clients that are of other versions than the present ones."""
        for client, version in self.versions.items():
            for file in folder.glob(client_file(folder, client, "*").name):
                if file != client_file(folder, client, version):
                    file.unlink()

    def begun(self, round_index: int) -> bool:
        """Never: clients of a federation are saved between rounds."""
        return False

    def _learn(self, client: int, round_index: int, message: Message) -> Outcome:
        learner = self.learners[client]
        before = {name: tensor.clone() for name, tensor in learner.state().items()}
        try:
            outcome = self._round(learner, round_index, message)
        except (KtlError, RuntimeError, ValueError) as error:  # torch raises the latter two
            outcome = Outcome(error=" ".join(str(error).split())[:200])
        if outcome.error is not None:
            self._revive(client, before)
            return outcome
        self.versions[client] = round_index + 1
        if self.method.uses_pairs:
            self.received[client].append(round_index)
        return outcome

    def _round(self, learner: EdgeLearner, round_index: int, message: Message) -> Outcome:
        started = time.monotonic()
        deadline = math.inf if self.deadline is None else started + self.deadline
        learner.start_round(round_index)
        self.method.learn(learner, message)
        self._warm_up(learner)
        if not learner.train_round(lambda *_: None, lambda: time.monotonic() > deadline):
            return Outcome(error=f"late: not done after {self.deadline:g} seconds")
        losses = mean_losses(learner)
        loss = losses["shot_loss"]
        if loss is None or not math.isfinite(loss) or not _finite(learner):
            raise DataError(f"its training diverged (mean loss {loss})")
        report = self.method.report(learner)
        learner.minimise()
        right, tested = (0, 0) if self.method.closes_rounds else self._test(learner, message)
        learner.start_round(round_index)  # gives the gradients' memory back
        return Outcome(report, right, tested, losses)

    def _warm_up(self, learner: EdgeLearner) -> None:
        """Does the steps on the pairs alone, which see no images of the edge's own.

        Edges of one architecture that start together end them with the same weights: only the first one does them.
        """
        steps = learner.plan().warm_up.steps if self.method.uses_pairs else 0
        if steps == 0 or len(self.learners) == 1:
            return
        model = learner.config.model
        round_index, state, losses = self._warmed.get(model, (-1, {}, MeanLosses()))
        if round_index == learner.round:
            learner.restore(state)
            learner.round_step = steps
            learner.losses = MeanLosses(dict(losses.sums), dict(losses.steps))
            return
        learner.train_round(lambda *_: None, lambda: learner.round_step >= steps)
        state = {name: tensor.clone() for name, tensor in learner.state().items()}
        losses = MeanLosses(dict(learner.losses.sums), dict(learner.losses.steps))
        self._warmed = {name: kept for name, kept in self._warmed.items() if kept[0] == learner.round}
        self._warmed[model] = (learner.round, state, losses)

    def _test(self, learner: EdgeLearner, message: Message) -> tuple[int, int]:
        if len(learner.task.test_labels) == 0:
            return 0, 0
        result = self.evaluate(learner, message)
        return result.right, result.tested

    def evaluate(self, learner: EdgeLearner, message: Message) -> Evaluation:
        """A learner on all its test images, by the method's predictor."""
        task = learner.task
        predictor = self.method.predictor(learner, message)
        return evaluate(predictor, task.test_images, task.test_labels, len(task.class_names), learner.device)

    def _revive(self, client: int, state: dict[str, Tensor]) -> None:
        learner = self._make(client)
        for round_index in self.received[client]:
            learner.start_round(round_index)
            self.method.recall(learner, self.messages[round_index])
        learner.restore(state)
        self.learners[client] = learner


def client_file(folder: Path, client: int, version: int | str) -> Path:
    """Where `Edges.save` keeps one version of a client."""
    return folder / f"client-{client}.{version}.safetensors"


def mean_losses(learner: EdgeLearner) -> dict[str, float | None]:
    """A round's mean losses on the shots and on the pairs; None where there was no such step."""
    return {column: learner.losses.mean(column) for column in ("shot_loss", "pair_loss")}


def _finite(learner: EdgeLearner) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in learner.model.state_dict().values())
