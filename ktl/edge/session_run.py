"""One edge's run in a session of several edges: it learns from the others' class statistics, and may miss rounds."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ktl.data.fewshot import FewShotTask
from ktl.edge.edge_run import EdgeRun
from ktl.edge.settings import RunConfig
from ktl.files import Row
from ktl.learning.learner import EdgeLearner
from ktl.loop.connection import SharedConnection
from ktl.loop.exchange import CloudExchange
from ktl.loop.rounds import Round, Scores
from ktl.methods.base import Method, Problem
from ktl.methods.fedktl import FedKTL
from ktl.methods.message import Message


class SessionRun(EdgeRun):
    """As `EdgeRun`; a client of a federation with the same images, settings and seed ends with the same weights."""

    def __init__(self, config: RunConfig, task: FewShotTask, out: Path, connection: SharedConnection) -> None:
        super().__init__(config, task, out, connection)
        self.shared = connection
        if self.exchange is not None:
            self.exchange.opening = 0, len(self.exchange.reply)  # others sent the request

    def make_method(self, problem: Problem) -> Method:
        """FedKTL as in `ktl federate`, with the noise that this edge adds."""
        noise = self.config.noise
        return FedKTL(FedKTL.Settings(epsilon=noise.epsilon, delta=noise.delta), problem)

    def participants(self, round_index: int) -> tuple[list[int], dict[int, str]]:
        """The edge, unless the session has gone on without it."""
        missed = self.shared.absent(round_index)
        return ([0], {}) if missed is None else ([], {0: missed})

    def row(self, finished: Round, scores: Scores) -> Row:
        """A round's row, with the edges whose statistics were pooled, those that were late, and why it was missed."""
        standing = self.shared.standing(finished.index)
        missed = None if finished.outcomes else finished.left_out.get(0)
        others = {"edges": standing.edges, "late": standing.late, "missed": missed}
        return super().row(finished, scores) | others

    def trained_model(self) -> tuple[nn.Module, float]:
        """The model with what all edges know; its scores are probabilities' logarithms as they are."""
        assert self.exchange is not None
        return pooled_predictor(self.method, self.exchange, self.learner), 1.0


def pooled_predictor(method: Method, exchange: CloudExchange, learner: EdgeLearner) -> nn.Module:
    """What a learner classifies by after the last round that lies in `exchange`."""
    pooled = exchange.last_pooled()
    message = Message() if pooled is None else Message(payloads={"statistics": pooled[1]})
    return method.predictor(learner, message)
