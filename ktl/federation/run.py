"""The round loop: who takes part, what travels, how good the clients are; as a folder that can be gone on with."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from ktl.checkpoint import load_checkpoint, prefixed, save_checkpoint, under
from ktl.config import FederationConfig, PartitionConfig, load_config, save_config
from ktl.data import load_dataset
from ktl.data.partition import FederatedData, share_out
from ktl.data.partition_files import load_partition
from ktl.edge.run import Interrupted
from ktl.errors import CheckpointError, DataError, UsageError
from ktl.federation.processes import Engine, Processes
from ktl.files import write_atomically
from ktl.learning.process import prepare_process
from ktl.loop.edges import Edges, Outcome, client_file
from ktl.machine import cores
from ktl.methods import METHODS
from ktl.methods.base import Message, Method, Problem
from ktl.seeds import stream

CHECKPOINT_SECONDS = 20.0

Row = dict[str, Any]


@dataclass(frozen=True)
class FederationResult:
    """rows: one a round, as in metrics.jsonl; accuracies: of each client with test images, after the last round."""

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
    workers: int | None = None,
    resume: bool = False,
    on_round: Callable[[Row, dict[int, float]], None] = lambda row, accuracies: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> FederationResult:
    """Runs a federation into the folder `out`: config.json, metrics.jsonl, checkpoint.safetensors, clients/.

    `data` is shared out from `config` if None; `workers` processes (one a core if None; 0: this process) train the
    clients. With `resume` the numbers are the same to the bit as if the run had never stopped; another configuration
    is refused with the difference. Raises UsageError, DataError, or Interrupted after `should_stop`.
    """
    _open(config, out, resume)
    if data is None:
        data = federated_data(config.source, config.image_size, config.partition, config.seed)
    counts = data.counts("train")
    active = [client for client in range(len(data.clients)) if int(counts[client].sum()) > 0]
    if not active:
        raise DataError("no client has a training image; share out more images, or lower --clients")
    problem = Problem(counts, data.images.shape[1], data.images.shape[2])
    tasks = {client: data.task(client) for client in active}
    wanted = min(len(cores()) if workers is None else workers, len(active))
    method: Method = METHODS.load(config.method)(config, problem)
    with ExitStack() as stack:
        engine: Engine
        if wanted > 0:
            engine = stack.enter_context(Processes(config, problem, tasks, wanted))
        else:
            prepare_process(1)
            engine = Edges(config, problem, tasks)
        loop = _Loop(config, out, method, engine, active, len(data.clients))
        loop.restore()
        return loop.to_the_end(on_round, should_stop)


def federated_data(source: str, image_size: int | None, partition: PartitionConfig, seed: int) -> FederatedData:
    """A saved partition's folder as it is, or a data set shared out to clients."""
    if (Path(source) / "train" / "0.npz").is_file():
        return load_partition(Path(source))
    return share_out(load_dataset(source, image_size), partition, seed)


def _open(config: FederationConfig, out: Path, resume: bool) -> None:
    if (out / "config.json").exists():
        if not resume:
            raise UsageError(f"{out} already holds a run: go on with --resume, or name another --out")
        held = load_config(out / "config.json", FederationConfig)
        if held != config:
            raise UsageError(f"{out} holds a run with other settings ({difference(held, config)}): name another --out")
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out} cannot be a run directory ({error.strerror}): name another --out") from error
    save_config(config, out / "config.json")


def difference(held: FederationConfig, wanted: FederationConfig) -> str:
    """The settings in which two configurations differ, as `name: held value, not wanted value`."""

    def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in values.items():
            found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        return found

    one, other = flat(asdict(held)), flat(asdict(wanted))
    return "; ".join(f"{name}: {one[name]}, not {other[name]}" for name in one if one[name] != other[name])


class _Loop:
    """The cloud's side of a run, and its checkpoint."""

    def __init__(
        self, config: FederationConfig, out: Path, method: Method, engine: Engine, active: list[int], total: int
    ) -> None:
        self.config = config
        self.out = out
        self.method = method
        self.engine = engine
        self.active = active
        self.idle = {client: "no training image" for client in range(total) if client not in active}
        self.rows: list[Row] = []
        self.scores: dict[int, tuple[int, int]] = {}  # right, tested of each client when it was last tested
        self.messages: dict[int, Message] = {}
        self._saved = time.monotonic()

    def to_the_end(
        self, on_round: Callable[[Row, dict[int, float]], None], should_stop: Callable[[], bool]
    ) -> FederationResult:
        while len(self.rows) < self.config.rounds and not self._stale():
            if should_stop():
                self._save()
                raise Interrupted(f"stopped after round {len(self.rows)}; go on with --resume --out {self.out}")
            row = self._round(len(self.rows))
            self.rows.append(row)
            on_round(row, self._accuracies())
            if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
                self._save()
        self._save()
        return FederationResult(self.out, self.rows, self._accuracies())

    def _round(self, round_index: int) -> Row:
        started = time.monotonic()
        joined = self._drawn("join", self.active, self.config.join_ratio, round_index)
        dropped = self._dropped(joined, round_index)
        left_out = self.idle | dict.fromkeys(dropped, "dropped out")
        joined = [client for client in joined if client not in dropped]
        asked = self.engine.ask(joined, round_index)
        left_out |= {client: answer for client, answer in asked.items() if isinstance(answer, str)}
        sent = {client: answer for client, answer in asked.items() if not isinstance(answer, str)}
        message = self.method.answer(round_index, sent)
        if not self.method.local_only:
            self.messages[round_index] = message
        outcomes = self.engine.train(list(sent), round_index, message)
        left_out |= {client: o.error for client, o in outcomes.items() if o.error is not None}
        done = {client: o for client, o in outcomes.items() if o.error is None}
        self.scores |= {client: (o.right, o.tested) for client, o in done.items()}
        if untested := [client for client in self.active if client not in self.scores]:
            self.scores |= self.engine.test(untested, message)
        reports = {client: outcome.report for client, outcome in done.items()}
        if any(reports.values()):
            self.method.collect(round_index, reports)
        row = self._figures(round_index, done) | self._traffic(sent, message, reports)
        row["left_out"] = {str(client): reason for client, reason in sorted(left_out.items())}
        row["seconds"] = round(time.monotonic() - started, 3)
        return row

    def _drawn(self, what: str, clients: list[int], share: float, round_index: int) -> list[int]:
        count = max(1, round(share * len(clients)))
        order = torch.randperm(len(clients), generator=stream(self.config.seed, what, round_index)).tolist()
        return sorted(clients[i] for i in order[:count])

    def _dropped(self, joined: list[int], round_index: int) -> set[int]:
        chance = torch.rand(len(joined), generator=stream(self.config.seed, "drop", round_index)).tolist()
        return {client for client, value in zip(joined, chance, strict=True) if value < self.config.drop_ratio}

    def _figures(self, round_index: int, done: Mapping[int, Outcome]) -> Row:
        by_client = self._accuracies()
        accuracies = list(by_client.values())
        tested = sum(tested for _, tested in self.scores.values())
        losses = [outcome.shot_loss for outcome in done.values() if outcome.shot_loss is not None]
        return {
            "round": round_index + 1,
            "clients": len(done),
            "accuracy": sum(right for right, _ in self.scores.values()) / max(tested, 1),
            "worst": min(accuracies, default=0.0),
            "spread": statistics.pstdev(accuracies) if accuracies else 0.0,
            "shot_loss": statistics.fmean(losses) if losses else None,
            "by_client": {str(client): accuracy for client, accuracy in by_client.items()},
        }

    def _traffic(self, sent: Mapping[int, Message], message: Message, reports: Mapping[int, Message]) -> Row:
        upward = [m for m in [*sent.values(), *reports.values()] if m]
        size = _size(message)
        return {
            "bytes_up": sum(_size(each) for each in upward),
            "bytes_down": len(sent) * size,
            "bytes_broadcast": size if sent else 0,  # the one message, as a broadcast carries it
            "numbers_up": sum(self.method.numbers_up(each) for each in upward),
            "numbers_down": len(sent) * (self.method.numbers_down(message) if message else 0),
        }

    def _accuracies(self) -> dict[int, float]:
        return {client: right / tested for client, (right, tested) in sorted(self.scores.items()) if tested}

    def _stale(self) -> bool:
        patience = self.config.patience
        if patience is None or len(self.rows) <= patience:
            return False
        accuracies = [row["accuracy"] for row in self.rows]
        return bool(max(accuracies[-patience:]) <= max(accuracies[:-patience]))

    def _save(self) -> None:
        """Clients write their own files first; that of the cloud, which names their versions, makes them count."""
        (self.out / "clients").mkdir(exist_ok=True)
        versions = self.engine.save(self.out / "clients")
        tensors = prefixed("cloud", self.method.state())
        for round_index, message in self.messages.items():
            tensors |= prefixed(f"message {round_index}", message)
        progress = {
            "rows": self.rows,
            "scores": {str(client): score for client, score in self.scores.items()},
            "versions": {str(client): version for client, version in versions.items()},
        }
        save_checkpoint(self.out / "checkpoint.safetensors", tensors, progress)
        self._keep_only(versions)
        self._write_metrics()
        self._saved = time.monotonic()

    def restore(self) -> None:
        """Goes on from the last checkpoint, if there is one."""
        path = self.out / "checkpoint.safetensors"
        if not path.exists():
            self._keep_only({})
            return
        tensors, progress = load_checkpoint(path)
        try:
            self.rows = progress["rows"]
            self.scores = {int(client): (right, tested) for client, (right, tested) in progress["scores"].items()}
            numbers = {int(name.split("/")[0].split()[1]) for name in tensors if name.startswith("message ")}
            self.messages = {r: under(f"message {r}", tensors) for r in sorted(numbers)}
            self.method.restore(under("cloud", tensors))
            versions = {int(client): version for client, version in progress["versions"].items()}
            self._keep_only(versions)
            self.engine.restore(self.out / "clients", versions, self.messages)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{path} does not fit this run ({reason}); start the run anew") from error
        self._write_metrics()

    def _keep_only(self, versions: Mapping[int, int]) -> None:
        """Removes the clients' files that no checkpoint names: earlier ones, and those that a kill left behind."""
        folder = self.out / "clients"
        counting = {client_file(folder, client, version) for client, version in versions.items()}
        for file in folder.glob("*"):
            if file not in counting:
                file.unlink()

    def _write_metrics(self) -> None:
        write_atomically(self.out / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self.rows).encode())


def _size(message: Message) -> int:
    """Bytes of a message as safetensors; of one that carries finished payloads, theirs."""
    if not message:
        return 0
    if all(tensor.dtype == torch.uint8 for tensor in message.values()):
        return sum(tensor.numel() for tensor in message.values())
    return len(save({name: tensor.contiguous() for name, tensor in message.items()}))
