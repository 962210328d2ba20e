"""Devices of a fleet in this process, each with a folder of its own, as the loop's clients: no Flower between."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from ktl.class_agreement import class_digest
from ktl.data.partition import FederatedData
from ktl.data.partition_files import save_partition
from ktl.federation.node_folder import NodeRun, Setup
from ktl.federation.processes import WarmStarts
from ktl.federation.run import FederationResult, federate
from ktl.federation.settings import FederationConfig
from ktl.flower.node import Node
from ktl.loop.clients import Clients, Outcome, Watch
from ktl.methods.base import Problem
from ktl.methods.message import Message
from ktl.run_folder import SETUP
from ktl.settings import as_table

NAME = "0123456789abcdef"


class NodesHere:
    """Implements `Clients`; a node is made anew for whatever is asked of it."""

    watched = False

    def __init__(self, home: Path, config: FederationConfig, problem: Problem, clients: Sequence[int]) -> None:
        self.config, self.problem = config, problem
        self.runs = {client: node_run(home, client) for client in clients}
        self.versions = dict.fromkeys(clients, 0)

    def node(self, client: int) -> Node:
        run = self.runs[client]
        return Node(
            run.clients, self.config, self.problem, client, run.task(), {}, self.versions[client], keeps_last=True
        )

    def ask(self, clients: Sequence[int], round_index: int) -> dict[int, Message | str]:
        return {client: self.node(client).ask(round_index) for client in clients}

    def learn(
        self, clients: Sequence[int], round_index: int, message: Message, watch: Watch = Watch()
    ) -> dict[int, Outcome]:
        outcomes = {client: self.node(client).learn(round_index, message) for client in clients}
        self.versions |= dict.fromkeys(clients, round_index + 1)
        return outcomes

    def test(self, clients: Sequence[int], message: Message) -> dict[int, tuple[int, int]]:
        return {client: self.node(client).test(message) for client in clients}

    def save(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {}

    def restore(
        self, folder: Path, tensors: dict[str, Tensor], progress: dict[str, Any], messages: Mapping[int, Message]
    ) -> None:
        raise NotImplementedError

    def tidy(self, folder: Path) -> None:
        pass

    def begun(self, round_index: int) -> bool:
        return False


def node_run(home: Path, client: int) -> NodeRun:
    """Where the device of a client keeps its run."""
    return NodeRun(home / f"device-{client}" / f"client-{client}-run-{NAME}")


def run_on_nodes(config: FederationConfig, data: FederatedData, home: Path) -> FederationResult:
    """A federation whose server keeps its folder in `home`/server."""
    shape = data.images.shape
    counts = data.counts("train").tolist()
    setup = Setup(json.dumps(as_table(config)), class_digest(data.class_names), counts, shape[1], shape[2])
    for client, own in enumerate(data.clients):
        run = node_run(home, client)
        save_partition(replace(data, clients=[own]), run.data)
        (run.path / SETUP).write_bytes(msgspec.msgpack.encode(setup))

    @contextmanager
    def engine(
        config: FederationConfig, problem: Problem, active: Sequence[int], warm_starts: WarmStarts
    ) -> Iterator[Clients]:
        yield NodesHere(home, config, problem, active)

    return federate(config, home / "server", data=data, engine=engine)
