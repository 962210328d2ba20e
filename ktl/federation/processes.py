"""Where the edges run: in this process, or in one process a core. Results do not depend on which."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Mapping, Sequence
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

from ktl.config import FederationConfig
from ktl.data.fewshot import FewShotTask
from ktl.errors import KtlError
from ktl.learning.process import prepare_process
from ktl.loop.edges import Edges, Outcome
from ktl.machine import cores
from ktl.methods.base import Message, Problem
from ktl.models import MODELS, client_model
from ktl.seeds import initialising


class Engine(Protocol):
    """All clients of a federation; the calls are those of `Edges`."""

    def ask(self, clients: Sequence[int], round_index: int) -> dict[int, Message | str]: ...

    def train(self, clients: Sequence[int], round_index: int, message: Message) -> dict[int, Outcome]: ...

    def test(self, clients: Sequence[int], message: Message) -> dict[int, tuple[int, int]]: ...

    def save(self, folder: Path) -> dict[int, int]: ...

    def restore(self, folder: Path, versions: Mapping[int, int], messages: Mapping[int, Message]) -> None: ...


class Processes:
    """One process a core, each with clients of its own for the whole run: their weights never move."""

    def __init__(
        self, config: FederationConfig, problem: Problem, tasks: Mapping[int, FewShotTask], workers: int
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
            start = pickle.dumps((config, problem, own, available[worker % len(available)]))
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

    def train(self, clients: Sequence[int], round_index: int, message: Message) -> dict[int, Outcome]:
        return self._merged("train", [(self._own(clients, w), round_index, message) for w in self._workers()])

    def test(self, clients: Sequence[int], message: Message) -> dict[int, tuple[int, int]]:
        return self._merged("test", [(self._own(clients, w), message) for w in self._workers()])

    def save(self, folder: Path) -> dict[int, int]:
        return self._merged("save", [(folder,) for _ in self._workers()])

    def restore(self, folder: Path, versions: Mapping[int, int], messages: Mapping[int, Message]) -> None:
        self._merged("restore", [(folder, versions, messages) for _ in self._workers()])

    def _workers(self) -> range:
        return range(len(self._connections))

    def _own(self, clients: Sequence[int], worker: int) -> list[int]:
        return [client for client in clients if self.home[client] == worker]

    def _merged(self, call: str, arguments: Sequence[tuple[Any, ...]]) -> dict[int, Any]:
        """Every process works at the same time; the answers are in the order of client numbers."""
        try:
            for connection, each in zip(self._connections, arguments, strict=True):
                connection.send_bytes(pickle.dumps((call, each)))
            replies = [pickle.loads(connection.recv_bytes()) for connection in self._connections]
        except (EOFError, OSError) as error:
            raise KtlError(
                "a client process ended (out of memory?); go on with --resume, with fewer or smaller --models"
            ) from error
        merged: dict[int, Any] = {}
        for failure, reply in replies:
            if failure is not None:
                raise failure
            merged |= reply or {}
        return dict(sorted(merged.items()))


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
    config, problem, tasks, core = pickle.loads(start)
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
            edges = edges or Edges(config, problem, tasks)
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
