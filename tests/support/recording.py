"""A method and a cloud's connection that note what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ktl.data.fewshot import FewShotTask
from ktl.errors import KtlError
from ktl.learning.learner import EdgeLearner
from ktl.loop.connection import CloudConnection
from ktl.methods.base import Method, Problem
from ktl.methods.message import Message
from ktl.settings import NoSettings


class Recording(Method):
    """Edges that train alone, in a method that sends something in every step and writes down every call.

    `fails`: (step, client) at which an edge's half raises; `silent`: nothing is asked or reported.
    """

    def __init__(
        self,
        problem: Problem,
        tasks: Mapping[int, FewShotTask],
        fails: Sequence[tuple[str, int]] = (),
        *,
        silent: bool = False,
    ) -> None:
        super().__init__(NoSettings(), problem)
        self.calls: list[str] = []
        self.fails = fails
        self.silent = silent
        self._clients = {id(task): client for client, task in tasks.items()}

    def ask(self, learner: EdgeLearner) -> Message:
        return self._edge("ask", learner)

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        values = {client: float(message["value"]) for client, message in asked.items() if message}
        self.calls.append(f"{round_index}: answer {values}")
        return Message({"value": torch.tensor(100.0 + round_index)})

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        assert float(message["value"]) == 100.0 + learner.round
        self._edge("learn", learner)

    def report(self, learner: EdgeLearner) -> Message:
        assert learner.round_step > 0  # it has trained
        return self._edge("report", learner)

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        values = {client: float(message["value"]) for client, message in reports.items() if message}
        self.calls.append(f"{round_index}: collect {values}")

    def _edge(self, step: str, learner: EdgeLearner) -> Message:
        client = self._clients[id(learner.task)]
        self.calls.append(f"{learner.round}: {step} {client}")
        if (step, client) in self.fails:
            raise KtlError(f"client {client} cannot {step}")
        return Message() if self.silent else Message({"value": torch.tensor(float(client))})


class CountingCloud:
    """A connection that notes what goes through it."""

    def __init__(self, cloud: CloudConnection) -> None:
        self.cloud = cloud
        self.opened: list[list[dict[int, bytes]]] = []  # `answered` of each opening
        self.asked: list[dict[int, bytes]] = []  # uploads of each exchange

    def open(
        self, request: bytes, answered: Sequence[Mapping[int, bytes]], pooled: Sequence[Mapping[int, bytes]] = ()
    ) -> bytes:
        self.opened.append([dict(uploads) for uploads in answered])
        return self.cloud.open(request, answered, pooled)

    def exchange(self, uploads: Mapping[int, bytes]) -> bytes:
        self.asked.append(dict(uploads))
        return self.cloud.exchange(uploads)

    def pool(self, uploads: Mapping[int, bytes]) -> bytes:
        return self.cloud.pool(uploads)
