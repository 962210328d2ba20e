"""A federation's run: the loop with many clients, who takes part in a round, and what a round's row says."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ktl.cloud.embedded import embedded_cloud
from ktl.data.manifest import read_manifest
from ktl.data.partition import FederatedData
from ktl.errors import CheckpointError, DataError, UsageError
from ktl.federation.drawings import keep_drawings
from ktl.federation.problem import data_of, federated_problem
from ktl.federation.processes import Processes, WarmStarts, federated_edges, make_method
from ktl.federation.settings import FederationConfig
from ktl.files import Row, read_rows
from ktl.learning.process import prepare_process
from ktl.loop.clients import Clients
from ktl.loop.connection import CloudConnection
from ktl.loop.exchange import CloudExchange
from ktl.loop.folder import RunFolder, load_config
from ktl.loop.rounds import Loop, Observer, Round, Scores
from ktl.machine import cores
from ktl.methods.base import Exchange, Method, Problem
from ktl.methods.message import Message
from ktl.models.edge_model import extractor_weights
from ktl.registry import chosen
from ktl.run_folder import METRICS
from ktl.seeds import stream
from ktl.warm_start.settings import WarmStartConfig

CHECKPOINT_SECONDS = 20.0

# makes the clients that have images, by number, with the warm starts that they begin with
Engine = Callable[[FederationConfig, Problem, Sequence[int], WarmStarts], AbstractContextManager[Clients]]
OnRound = Callable[[Row, dict[int, float]], None]  # a round's row, and accuracies by client


@dataclass(frozen=True)
class FederationResult:
    """rows: one per round, as in metrics.jsonl; accuracies: of each client with test images, after the last round."""

    out: Path
    rows: list[Row]
    accuracies: dict[int, float]

    @property
    def best(self) -> float:
        """The best round's mean test accuracy, weighted by test images: what the paper reports."""
        return max((float(row["accuracy"]) for row in self.rows), default=0.0)


def federate(
    config: FederationConfig,
    out: Path,
    *,
    data: FederatedData | None = None,
    connection: CloudConnection | None = None,
    workers: int | None = None,
    engine: Engine | None = None,
    resume: bool = False,
    on_round: OnRound = lambda row, accuracies: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> FederationResult:
    """Runs a federation into the folder `out`: config.json, metrics.jsonl, checkpoint.safetensors, clients/, wire/.

    None stands for: `data` shared out from `config`, a `connection` to a cloud in this process, `workers` processes by
    core (0: this process). An `engine` has the clients elsewhere: then a checkpoint follows each round. With `resume`
    the numbers are the same to the bit as if the run had never stopped; another configuration is refused, but for where
    the same data is, and a run that has ended is read, not written. Raises UsageError, CloudError, DataError also for
    data that is no longer as it was, or Interrupted after `should_stop`.
    """
    folder = RunFolder(out, resume_by="--resume with the same options")
    source = config.source
    if resume and folder.begun:
        config = _as_begun(config, out)
    if config.secure_aggregation and engine is None:
        raise UsageError("secure_aggregation is Flower's: give --engine flower, or leave it out")
    folder.check(config, resume=resume)
    if folder.begun and is_finished(out, config):
        return read_result(out)
    data = data or data_of(config, out, source)
    config = config.settled(*data.images.shape[1:3])
    folder.start(config, data.manifest)
    problem = federated_problem(config, data)
    place = engine or partial(_local_clients, data, workers)
    save_every = CHECKPOINT_SECONDS if engine is None else 0.0
    result, exchange = _trained(config, folder, problem, place, connection, save_every, on_round, should_stop)
    if not config.secure_aggregation:  # then nobody knows what one client could be drawn as
        keep_drawings(folder.path, data, exchange)
    return result


def federate_elsewhere(
    config: FederationConfig,
    out: Path,
    problem: Problem,
    engine: Engine,
    on_round: OnRound = lambda row, accuracies: None,
) -> FederationResult:
    """As `federate`, where the images lie with the clients of `engine`; goes on with the run in `out`, if there is one.

    `problem`: what the clients said of their images. Raises what `federate` raises, but for data.
    """
    folder = RunFolder(out, resume_by="the same command")
    if folder.begun:
        config = _as_begun(config, out)
    folder.check(config, resume=True)
    if folder.begun and is_finished(out, config):
        return read_result(out)
    config = config.settled(problem.channels, problem.image_size)
    folder.start(config)
    return _trained(config, folder, problem, engine, None, 0.0, on_round, lambda: False)[0]


def _as_begun(config: FederationConfig, out: Path) -> FederationConfig:
    """`config`, with what it left to the data, and where the data was, as the run in `out` has them."""
    kept = load_config(out, FederationConfig)
    if config.warm_start == "auto":
        config = replace(config, warm_start=kept.warm_start)
    if read_manifest(out) is not None:  # it says whether the data is the same, wherever that lies
        config = replace(config, source=kept.source)
    return config


def _trained(
    config: FederationConfig,
    folder: RunFolder,
    problem: Problem,
    engine: Engine,
    connection: CloudConnection | None,
    save_every: float,
    on_round: OnRound,
    should_stop: Callable[[], bool],
) -> tuple[FederationResult, Exchange | None]:
    """The rounds that are left, from the folder's checkpoint on, and the session with a cloud, if there was one."""
    turnout = Turnout(config, problem)
    method, warm_starts = _opened(config, problem, folder.path / "wire", connection, should_stop)
    with engine(config, problem, turnout.active, warm_starts) as clients:
        loop = Loop(
            folder,
            method,
            clients,
            config.rounds,
            describe=lambda finished, scores: described(method, finished, scores, warm_starts),
            participants=turnout.participants,
            every_client=turnout.active,
            enough=lambda rows: stale(rows, config.patience),
            save_every=save_every,
            observer=Observer(lambda *_: None, lambda row: on_round(row, loop.scores.accuracies), should_stop),
        )
        rows = loop.run()
    return FederationResult(folder.path, rows, loop.scores.accuracies), method.exchange


def is_finished(out: Path, config: FederationConfig) -> bool:
    """Whether the federation in a folder has done its last round."""
    try:
        rows = read_rows(out / METRICS)
    except CheckpointError:  # none yet, or going on writes them anew
        return False
    return len(rows) >= config.rounds or stale(rows, config.patience)


def read_result(out: Path) -> FederationResult:
    """What a finished federation came to, from its metrics. Raises CheckpointError for damaged ones."""
    rows = read_rows(out / METRICS)
    return FederationResult(out, rows, {int(client): accuracy for client, accuracy in rows[-1]["by_client"].items()})


def _opened(
    config: FederationConfig,
    problem: Problem,
    wire: Path,
    connection: CloudConnection | None,
    should_stop: Callable[[], bool],
) -> tuple[Method, WarmStarts]:
    """The method, in a session with the cloud if it needs one, and what clients begin with."""
    method, warm_starts = make_method(config, problem), dict[str, bytes]()
    if method.uses_pairs:
        cloud = config.cloud
        connection = connection or embedded_cloud(
            chosen(cloud.generator),
            chosen(cloud.space) if cloud.space else None,
            WarmStartConfig(images=cloud.warm_start_images),
            should_stop=should_stop,
        )
        method.exchange = exchange = CloudExchange(problem.request, wire, connection)
        for model in config.warm_started:
            like = extractor_weights(model, problem.channels, problem.image_size)
            warm_starts[model] = exchange.warm_start(model, like)
    return method, warm_starts


@contextmanager
def _local_clients(
    data: FederatedData,
    workers: int | None,
    config: FederationConfig,
    problem: Problem,
    active: Sequence[int],
    warm_starts: WarmStarts,
) -> Iterator[Clients]:
    """The federation's clients in `workers` processes, which end with it, or in this one."""
    tasks = {client: data.task(client) for client in active}
    wanted = min(len(cores()) if workers is None else workers, len(tasks))
    if wanted > 0:
        with Processes(config, problem, tasks, wanted, warm_starts) as processes:
            yield processes
    else:
        prepare_process(1)
        yield federated_edges(config, problem, tasks, warm_starts)


class Turnout:
    """Who takes part in each round, drawn by seed."""

    def __init__(self, config: FederationConfig, problem: Problem) -> None:
        """Raises DataError where no client has a training image."""
        self.config = config
        images: list[int] = problem.counts.sum(dim=1).tolist()
        self.active = [client for client, count in enumerate(images) if count > 0]
        self.idle = {client: "no training image" for client, count in enumerate(images) if count == 0}
        if not self.active:
            raise DataError("no client has a training image; share out more images, or lower --clients")

    def participants(self, round_index: int) -> tuple[list[int], dict[int, str]]:
        """The clients that train in a round, and why others do not."""
        joined = self._joined(round_index)
        chance: list[float] = torch.rand(len(joined), generator=self._stream("drop", round_index)).tolist()
        dropped = {c for c, value in zip(joined, chance, strict=True) if value < self.config.drop_ratio}
        absent = self.idle | dict.fromkeys(sorted(dropped), "dropped out")
        return [client for client in joined if client not in dropped], absent

    def _joined(self, round_index: int) -> list[int]:
        count = max(1, round(self.config.join_ratio * len(self.active)))
        order: list[int] = torch.randperm(len(self.active), generator=self._stream("join", round_index)).tolist()
        return sorted(self.active[i] for i in order[:count])

    def _stream(self, what: str, round_index: int) -> torch.Generator:
        return stream(self.config.seed, what, round_index)


def described(method: Method, finished: Round, scores: Scores, warm_starts: WarmStarts) -> Row:
    """A round's row of the metrics, but for seconds; the first one's bytes include those of warm starts."""
    accuracies = scores.accuracies
    losses = [outcome.losses["shot_loss"] for outcome in finished.outcomes.values()]
    known = [loss for loss in losses if loss is not None]
    row = {
        "round": finished.index + 1,
        "clients": len(finished.outcomes),
        "accuracy": scores.mean,
        "tested": scores.tested,
        "worst": min(accuracies.values(), default=0.0),
        "spread": statistics.pstdev(accuracies.values()) if accuracies else 0.0,
        "shot_loss": statistics.fmean(known) if known else None,
        "by_client": {str(client): accuracy for client, accuracy in accuracies.items()},
    }
    left_out = {str(client): reason for client, reason in sorted(finished.left_out.items())}
    traffic = _traffic(method, finished)
    if finished.index == 0:
        traffic = {column: count + _began(method, warm_starts).get(column, 0) for column, count in traffic.items()}
    return row | traffic | {"left_out": left_out}


def _began(method: Method, warm_starts: WarmStarts) -> Row:
    """The bytes of warm starts: every client with images gets its own model's, a broadcast carries each once."""
    models, images = method.problem.models, method.problem.counts.sum(dim=1).tolist()
    own = [models[client % len(models)] for client, count in enumerate(images) if count > 0]
    down = sum(len(warm_starts.get(model, b"")) for model in own)
    return {"bytes_down": down, "bytes_broadcast": sum(map(len, warm_starts.values()))}


def _traffic(method: Method, finished: Round) -> Row:
    sent, message = finished.sent, finished.message
    done, closing = len(finished.outcomes), finished.closing or Message()
    upward = [each for each in [*sent.values(), *finished.reports.values()] if each]
    return {
        "bytes_up": sum(each.size for each in upward) + sum(o.bytes_beside for o in finished.outcomes.values()),
        "bytes_down": len(sent) * message.size + done * closing.size,
        "bytes_broadcast": (message.size if sent else 0) + closing.size,  # as a broadcast carries them
        "numbers_up": sum(method.numbers_up(each) for each in upward),
        "numbers_down": len(sent) * (method.numbers_down(message) if message else 0)
        + done * (method.numbers_down(closing) if closing else 0),
    }


def stale(rows: list[Row], patience: int | None) -> bool:
    """Whether the last `patience` rounds brought no better mean accuracy than those before."""
    if patience is None or len(rows) <= patience:
        return False
    accuracies = [row["accuracy"] for row in rows]
    return bool(max(accuracies[-patience:]) <= max(accuracies[:-patience]))
