"""One client on a node: made anew for each message from what its folder keeps. Its weights stay in that folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ktl.data.fewshot import FewShotTask
from ktl.errors import CheckpointError
from ktl.federation.node_folder import keep_last, keep_pairs, kept_pairs
from ktl.federation.processes import WarmStarts, federated_edges
from ktl.federation.settings import FederationConfig
from ktl.flower.secure_terms import fewest_with, noise_of_each
from ktl.flower.summands import Vector, noise_vector, vector_of
from ktl.learning.process import prepare_process
from ktl.loop.clients import Outcome
from ktl.loop.edges import client_file
from ktl.methods.base import Problem
from ktl.methods.fedktl import FedKTL
from ktl.methods.message import Message
from ktl.models import client_model
from ktl.statistics_noise import secret_rng


class Node:
    """A client of a federation, at a version that its folder holds.

    The cloud says which version it counts on: rounds until the client last trained with success, 0 for none. So what
    the node did after the cloud's last checkpoint, or too late, does not count.
    """

    def __init__(
        self,
        folder: Path,
        config: FederationConfig,
        problem: Problem,
        client: int,
        task: FewShotTask,
        warm_starts: WarmStarts,
        version: int,
        *,
        keeps_last: bool,
    ) -> None:
        """`keeps_last`: whether what each version predicts by is kept, for `ktl export`.

        Raises CheckpointError for a version that is not there, or is damaged.
        """
        prepare_process(1)
        self.folder = folder
        self.client = client
        self.keeps_last = keeps_last
        self.secure = config.secure_aggregation
        self.fewest = fewest_with(client_model(config.models, client), config, problem)  # in a secure sum
        self.edges = federated_edges(config, problem, {client: task}, warm_starts)
        if version > 0:
            file = client_file(folder, client, version)
            if not file.exists():
                raise CheckpointError(f"{file} is missing: this node has lost what client {client} had learnt")
            self.edges.restore(folder, {}, {str(client): version}, kept_pairs(folder))

    def ask(self, round_index: int) -> Message | str:
        """What the client sends before it trains, or why it cannot."""
        return self.edges.ask([self.client], round_index)[self.client]

    def learn(self, round_index: int, message: Message) -> Outcome:
        """One round; what came of it is saved as version `round_index` + 1 before it is reported."""
        self.edges.tidy(self.folder)  # the cloud's checkpoint names this version: no other is asked for again
        outcome = self.edges.learn([self.client], round_index, message)[self.client]
        if outcome.error is None:
            if self.edges.method.uses_pairs:
                keep_pairs(self.folder, round_index, message)
            self.edges.save(self.folder)
            if not self.edges.method.closes_rounds:
                self._keep_last(message)
        return replace(outcome, report=Message()) if self.secure else outcome

    def test(self, message: Message) -> tuple[int, int]:
        """Test images classified right, and in all."""
        if self.edges.method.closes_rounds:
            self._keep_last(message)
        return self.edges.test([self.client], message)[self.client]

    def summand(self) -> Vector:
        """What the client adds to a secure sum: statistics of its images, in a FedKTL that pools, and its noise."""
        method = self.edges.method
        assert isinstance(method, FedKTL)
        statistics, classes = method.statistics(self.edges.learners[self.client]), method.problem.classes
        vector = vector_of(statistics, classes)
        if (deviation := noise_of_each(method, self.fewest)) is not None:
            vector += noise_vector(classes, statistics.sums.shape[1], deviation, secret_rng())
        return vector

    def _keep_last(self, message: Message) -> None:
        version = self.edges.versions[self.client]
        if self.keeps_last and version > 0:
            keep_last(self.folder, self.client, version, message)
