"""Where the edges run: in this process, or in one process per core. Results do not depend on which."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Mapping, Sequence
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

from torch import Tensor

from ktl.data.fewshot import FewShotTask
from ktl.errors import KtlError
from ktl.federation.settings import FederationConfig
from ktl.learning.learner import EdgeLearner
from ktl.learning.process import prepare_process
from ktl.loop.clients import Outcome, Watch
from ktl.loop.edges import Edges
from ktl.machine import cores
from ktl.methods import METHODS
from ktl.methods.base import Method, Problem
from ktl.methods.message import Message
from ktl.models import MODELS, client_model
from ktl.registry import chosen
from ktl.seeds import initialising

WarmStarts = Mapping[str, bytes]  # a cloud's extractors, as they travel, by model
NONE: WarmStarts = {}


class Processes:
    """One process per core, each with clients of its own for the whole run: their weights never move."""

    watched = False

    def __init__(
        self,
        config: FederationConfig,
        problem: Problem,
        tasks: Mapping[int, FewShotTask],
        workers: int,
        warm_starts: WarmStarts = NONE,
    ) -> None:
        context = get_context("spawn")
        self.home = share_work(_work(config, problem, tasks), workers)
        self._connections: list[Connection] = []
        self._processes = []
        available = cores()
        for worker in range(workers):
            ours, theirs = context.Pipe()
            own = {client: task for client, task in tasks.items() if self.home[client] == worker}
            # pickled here, so that tensors travel by value and no shared-memory file is needed
            start = pickle.dumps((config, problem, own, warm_starts, available[worker % len(available)]))
            process = context.Process(target=_serve, args=(theirs, start), daemon=True)
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(timeout=5)
            process.terminate()
            process.join()

    def ask(self, clients: Sequence[int], round_index: int) -> dict[int, Message | str]:
        return self._merged("ask", [(self._own(clients, w), round_index) for w in self._workers()])

    def learn(
        self, clients: Sequence[int], round_index: int, message: Message, watch: Watch = Watch()
    ) -> dict[int, Outcome]:
        """One round of each client; steps in other processes are not watched, so a stop waits for the round's end."""
        return self._merged("learn", [(self._own(clients, w), round_index, message) for w in self._workers()])

    def test(self, clients: Sequence[int], message: Message) -> dict[int, tuple[int, int]]:
        return self._merged("test", [(self._own(clients, w), message) for w in self._workers()])

    def save(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        progress: dict[str, Any] = {}
        for _, versions in self._replies("save", [(folder,) for _ in self._workers()]):
            progress |= versions
        return {}, progress

    def restore(
        self, folder: Path, tensors: dict[str, Tensor], progress: dict[str, Any], messages: Mapping[int, Message]
    ) -> None:
        self._replies("restore", [(folder, tensors, progress, messages) for _ in self._workers()])

    def tidy(self, folder: Path) -> None:
        self._replies("tidy", [(folder,) for _ in self._workers()])

    def begun(self, round_index: int) -> bool:
        """Never: clients of a federation are saved between rounds."""
        return False

    def _workers(self) -> range:
        return range(len(self._connections))

    def _own(self, clients: Sequence[int], worker: int) -> list[int]:
        return [client for client in clients if self.home[client] == worker]

    def _merged(self, call: str, arguments: Sequence[tuple[Any, ...]]) -> dict[int, Any]:
        """The answers of all processes, in the order of client numbers."""
        merged: dict[int, Any] = {}
        for reply in self._replies(call, arguments):
            merged |= reply
        return dict(sorted(merged.items()))

    def _replies(self, call: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What a method of `Edges` returned in each process; all work at the same time."""
        try:
            for connection, each in zip(self._connections, arguments, strict=True):
                connection.send_bytes(pickle.dumps((call, each)))
            replies = [pickle.loads(connection.recv_bytes()) for connection in self._connections]
        except (EOFError, OSError) as error:
            raise KtlError(
                "a client process ended (out of memory?); go on with --resume, with fewer or smaller --models"
            ) from error
        for failure, _ in replies:
            if failure is not None:
                raise failure
        return [reply for _, reply in replies]


def make_method(config: FederationConfig, problem: Problem) -> Method:
    """The method that the settings choose, with its own settings and their classifier."""
    choice = chosen(config.method)
    kind: type[Method] = METHODS.load(choice.name)
    method = kind(choice.settings, problem)
    method.classifier = kind.classifier_named(config.classifier)
    return method


def federated_edges(
    config: FederationConfig, problem: Problem, tasks: Mapping[int, FewShotTask], warm_starts: WarmStarts = NONE
) -> Edges:
    """The edges of some of a federation's clients, in this process."""
    method = make_method(config, problem)

    def make(client: int) -> EdgeLearner:
        edge = config.edge(client_model(config.models, client), problem.training, uses_pairs=method.uses_pairs)
        learner = EdgeLearner(tasks[client], edge, config.seed, method.classifier)
        if edge.model in warm_starts:
            learner.take_warm_start(warm_starts[edge.model])
        return learner

    return Edges(tasks, method, make, config.deadline)


def share_work(work: Mapping[int, float], workers: int) -> dict[int, int]:
    """Clients to processes that get about as much to do: the heaviest first, each to the process with the least."""
    loads = [0.0] * workers
    homes = {}
    for client in sorted(work, key=lambda client: -work[client]):
        homes[client] = loads.index(min(loads))
        loads[homes[client]] += work[client]
    return homes


def _work(config: FederationConfig, problem: Problem, tasks: Mapping[int, FewShotTask]) -> dict[int, float]:
    """Of each client: its images times its model's parameters, which a round's time roughly follows."""
    models = {client: client_model(config.models, client) for client in tasks}
    parameters = {}
    for name in set(models.values()):
        with initialising(config.seed, "work", name):  # leaves torch's random state as it is
            extractor = MODELS.load(name)(problem.channels, problem.image_size)
        parameters[name] = sum(weight.numel() for weight in extractor.parameters())
    return {client: len(task.shot_labels) * parameters[models[client]] for client, task in tasks.items()}


def _serve(connection: Connection, start: bytes) -> None:
    """A process's life: make the edges, answer calls until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    Thread(target=_end_with_parent, daemon=True).start()
    config, problem, tasks, warm_starts, core = pickle.loads(start)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    prepare_process(1)
    edges: Edges | None = None
    while True:
        try:
            call, arguments = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            edges = edges or federated_edges(config, problem, tasks, warm_starts)
            reply: tuple[Exception | None, Any] = (None, getattr(edges, call)(*arguments))
        except KtlError as error:
            reply = (error, None)
        except Exception as error:
            reply = (KtlError(f"a client process failed: {type(error).__name__}: {error}"), None)
        connection.send_bytes(pickle.dumps(reply))


def _end_with_parent() -> None:
    """Ends this process once its parent has ended: a killed one cannot stop a call in progress, which takes minutes."""
    if parent := parent_process():
        parent.join()
        os._exit(1)
