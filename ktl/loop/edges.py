"""The edges of one process: `EdgeLearner`s side by side, each with its own images, run one after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ktl.checkpoint import load_checkpoint, save_checkpoint
from ktl.config import FederationConfig
from ktl.data.fewshot import FewShotTask
from ktl.errors import DataError, KtlError
from ktl.learning.evaluation import evaluate
from ktl.learning.learner import EdgeLearner
from ktl.methods import METHODS
from ktl.methods.base import Message, Method, Problem
from ktl.models import client_model


@dataclass(frozen=True)
class Outcome:
    """What one client did in a round; `error` says why it is left out, and then nothing of it counts."""

    report: Message
    right: int = 0
    tested: int = 0
    shot_loss: float | None = None
    error: str | None = None


class Edges:
    """Some of a federation's clients, by number."""

    def __init__(self, config: FederationConfig, problem: Problem, tasks: Mapping[int, FewShotTask]) -> None:
        method = METHODS.load(config.method)
        self.config = replace(config, training=method.training(config.training))
        self.method: Method = method(self.config, problem)
        self.tasks = tasks
        self.received: dict[int, list[int]] = {client: [] for client in tasks}
        self.messages: dict[int, Message] = {}  # of the rounds whose messages are kept
        self.learners = {client: self._learner(client) for client in tasks}
        self.versions = dict.fromkeys(tasks, 0)

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

    def train(self, clients: Sequence[int], round_index: int, message: Message) -> dict[int, Outcome]:
        """One round of each client. One that fails, diverges or is late goes back to where it was before."""
        if not self.method.local_only:
            self.messages[round_index] = message
        return {client: self._train(client, round_index, message) for client in clients}

    def test(self, clients: Sequence[int], message: Message) -> dict[int, tuple[int, int]]:
        """Test images classified right, and in all, of each client as it is."""
        return {client: self._test(self.learners[client], message) for client in clients}

    def save(self, folder: Path) -> dict[int, int]:
        """Writes what changed since the last call, a file a client, one after the other: memory for one is enough.

        Returns each client's version, which `restore` needs: the rounds until it last trained, 0 for its initial state.
        """
        for client, version in self.versions.items():
            path = client_file(folder, client, version)
            if version > 0 and not path.exists():  # the same version has the same bits
                save_checkpoint(path, self.learners[client].state(), {"received": self.received[client]})
        return self.versions

    def restore(self, folder: Path, versions: Mapping[int, int], messages: Mapping[int, Message]) -> None:
        """Goes on from files that `save` wrote and the messages of the rounds before."""
        self.messages = dict(messages) if not self.method.local_only else {}
        for client in self.learners:
            self.versions[client] = versions[client]
            if versions[client] > 0:
                state, metadata = load_checkpoint(client_file(folder, client, versions[client]))
                self.received[client] = metadata["received"]
                self._revive(client, state)

    def _learner(self, client: int) -> EdgeLearner:
        model = client_model(self.config.models, client)
        edge = self.config.edge(model, self.method.head, self.method.local_only)
        return EdgeLearner(self.tasks[client], edge, etf_seed=self.config.seed)

    def _train(self, client: int, round_index: int, message: Message) -> Outcome:
        learner = self.learners[client]
        before = {name: tensor.clone() for name, tensor in learner.state().items()}
        try:
            outcome = self._round(learner, round_index, message)
        except (KtlError, RuntimeError, ValueError) as error:  # torch raises the latter two
            outcome = Outcome({}, error=" ".join(str(error).split())[:200])
        if outcome.error is not None:
            self._revive(client, before)
            return outcome
        self.versions[client] = round_index + 1
        if not self.method.local_only:
            self.received[client].append(round_index)
        return outcome

    def _round(self, learner: EdgeLearner, round_index: int, message: Message) -> Outcome:
        started = time.monotonic()
        deadline = math.inf if self.config.deadline is None else started + self.config.deadline
        learner.start_round(round_index)
        self.method.learn(learner, message)
        if not learner.train_round(lambda *_: None, lambda: time.monotonic() > deadline):
            return Outcome({}, error=f"late: not done after {self.config.deadline:g} seconds")
        loss = learner.losses.means()["shot_loss"]
        if loss is None or not math.isfinite(loss) or not _finite(learner):
            raise DataError(f"its training diverged (mean loss {loss})")
        report = self.method.report(learner)
        learner.guide(None)
        right, tested = self._test(learner, message)
        learner.start_round(round_index)  # gives the gradients' memory back
        return Outcome(report, right, tested, loss)

    def _test(self, learner: EdgeLearner, message: Message) -> tuple[int, int]:
        task = learner.task
        if len(task.test_labels) == 0:
            return 0, 0
        predictor = self.method.predictor(learner, message)
        result = evaluate(predictor, task.test_images, task.test_labels, len(task.class_names), learner.device)
        return int(result.confusion.diagonal().sum()), len(task.test_labels)

    def _revive(self, client: int, state: dict[str, Tensor]) -> None:
        learner = self._learner(client)
        for round_index in self.received[client]:
            learner.start_round(round_index)
            self.method.recall(learner, self.messages[round_index])
        learner.restore(state)
        self.learners[client] = learner


def client_file(folder: Path, client: int, version: int) -> Path:
    """Where `Edges.save` keeps one version of a client."""
    return folder / f"client-{client}.{version}.safetensors"


def _finite(learner: EdgeLearner) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in learner.model.state_dict().values())
