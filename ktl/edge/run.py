"""One edge's run as a folder: it can be watched, killed at any moment, gone on with, and compared."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ktl.checkpoint import load_checkpoint, save_checkpoint
from ktl.config import RunConfig, load_config, save_config
from ktl.data import load_dataset
from ktl.data.fewshot import FewShotTask, draw_task
from ktl.edge.calibration import calibrated_temperature
from ktl.edge.export.onnx import ModelFacts, PictureClassifier, export_onnx
from ktl.edge.record import Record, cloud_arrays, describe_environment, result_arrays, write_record
from ktl.errors import CheckpointError, KtlError, UsageError
from ktl.files import write_atomically
from ktl.learning.evaluation import Evaluation
from ktl.learning.learner import EdgeLearner, RoundLosses
from ktl.learning.process import prepare_process
from ktl.learning.schedule import Stage
from ktl.loop.connection import CloudConnection
from ktl.loop.exchange import EdgeSession

CHECKPOINT_SECONDS = 10.0
LOSS_EVERY = 10  # steps, of the losses that a report draws

Row = dict[str, Any]


class Interrupted(KtlError):
    """The run was asked to stop; its state is saved."""


@dataclass(frozen=True)
class Observer:
    """What a caller may watch: every training step, every finished round; and how it says stop."""

    on_step: Callable[[int, Stage, int, float], None] = lambda round_index, stage, step, loss: None
    on_round: Callable[[Row], None] = lambda row: None
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class RunResult:
    """rows: one a round, as in metrics.jsonl; evaluation: of the final model."""

    out: Path
    rows: list[Row]
    evaluation: Evaluation


def train_edge(
    config: RunConfig,
    out: Path,
    connection: CloudConnection | None = None,
    *,
    resume: bool = False,
    observer: Observer = Observer(),
) -> RunResult:
    """Trains one edge, with a cloud's help or (`config.local_only`) without, into the run directory `out`.

    The folder gets config.json, labels.json, metrics.jsonl, checkpoint.safetensors, model.onnx, what a report shows
    (record.json, record.safetensors) and, under wire/, every payload sent and received. With `resume` a run goes on
    where it was; the result is the same to the bit as if it had never stopped. Raises UsageError if `out` holds a run
    that was not to be resumed, Interrupted after `should_stop`.
    """
    if config.local_only == (connection is not None):
        raise UsageError("a run needs a cloud connection, unless it is local_only: then it must have none")
    checkpoint = out / "checkpoint.safetensors"
    if (out / "config.json").exists():
        if not resume:
            raise UsageError(f"{out} already holds a run: go on with --resume {out} or name another --out")
        if load_config(out / "config.json", RunConfig) != config:
            raise UsageError(f"{out} holds a run with other settings: resume it with its own, or name another --out")
    prepare_process(config.threads)
    task = draw(config)
    session = EdgeSession(config, task, out / "wire", connection)
    learner = EdgeLearner(task, config, session.etf_seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out} cannot be a run directory ({error.strerror}): name another --out") from error
    save_config(config, out / "config.json")
    write_atomically(out / "labels.json", (json.dumps(task.class_names, indent=2) + "\n").encode())
    run = _Run(config, out, learner, session, observer)
    if checkpoint.exists():
        run.restore(checkpoint)
    return run.to_the_end()


def load_run(out: Path) -> EdgeLearner:
    """A run's saved model with its task and config. Raises CheckpointError."""
    config = load_config(out / "config.json", RunConfig)
    prepare_process(config.threads)
    tensors, _ = load_checkpoint(out / "checkpoint.safetensors")
    learner = EdgeLearner(draw(config), config, etf_seed=config.seed)
    learner.restore_model(tensors)
    return learner


def evaluate_run(out: Path) -> tuple[Evaluation, list[str]]:
    """Evaluates a run's saved model on its own test images; returns class names too. Raises CheckpointError."""
    learner = load_run(out)
    return learner.evaluate(), learner.task.class_names


def draw(config: RunConfig) -> FewShotTask:
    """The few-shot task that a run of `config` learns."""
    dataset = load_dataset(config.data.source, config.data.image_size)
    return draw_task(dataset, shots=config.data.shots, ways=config.data.ways, seed=config.seed)


class _Run:
    """The loop over rounds, and the checkpoint: the one source of truth that metrics.jsonl is written from."""

    def __init__(
        self, config: RunConfig, out: Path, learner: EdgeLearner, session: EdgeSession, observer: Observer
    ) -> None:
        self.config = config
        self.out = out
        self.learner = learner
        self.session = session
        self.observer = observer
        self.rows: list[Row] = []
        self.trace: list[list[Any]] = []  # [round, stage, step, loss] of every LOSS_EVERY-th step
        self.seconds = 0.0  # of the current round, over all its starts
        self._clock = self._saved = time.monotonic()

    def restore(self, checkpoint: Path) -> None:
        tensors, progress = load_checkpoint(checkpoint)
        try:
            reached, step = progress["round"], progress["round_step"]
            for r in range(min(reached + 1, self.config.rounds)):
                if r < reached or step > 0:
                    self.learner.start_round(r)
                    self._receive(r)
            self.learner.start_round(reached)
            self.learner.round_step = step
            self.learner.losses = RoundLosses(**progress["losses"])
            self.rows, self.seconds = progress["rows"], progress["seconds"]
            self.trace = progress["trace"]
            self.learner.restore(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{checkpoint} does not fit this run ({reason}); start the run anew") from error
        self._write_metrics()  # a kill may have come after the checkpoint's last row and before this

    def to_the_end(self) -> RunResult:
        learner = self.learner
        self._clock = self._saved = time.monotonic()
        while learner.round < self.config.rounds:
            if learner.round_step == 0:
                self._receive(learner.round)
            if not learner.train_round(self._after_step, self.observer.should_stop):
                self._save()
                raise Interrupted(
                    f"stopped in round {learner.round + 1}; go on with: ktl edge train --resume {self.out}"
                )
            self._finish_round()
        self._finish_run()
        return RunResult(self.out, self.rows, learner.evaluate())

    def _receive(self, round_index: int) -> None:
        pairs = self.session.pairs(round_index, self.learner)
        if pairs is not None:
            self.learner.receive(pairs)

    def _after_step(self, stage: Stage, step: int, loss: float) -> None:
        self.observer.on_step(self.learner.round, stage, step, loss)
        if step % LOSS_EVERY == 0:
            self.trace.append([self.learner.round + 1, stage.name, step, round(loss, 5)])
        if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self._save()

    def _finish_round(self) -> None:
        learner = self.learner
        accuracy = learner.evaluate().accuracy
        up, down = self.session.bytes_exchanged(learner.round)
        self._take_time()
        row = {"round": learner.round + 1, "test_accuracy": accuracy} | learner.losses.means()
        row |= {"seconds": round(self.seconds, 3), "bytes_up": up, "bytes_down": down}
        self.rows.append(row)
        self.seconds = 0.0
        learner.finish_round()
        self._save()
        self.observer.on_round(row)

    def _finish_run(self) -> None:
        config, learner, task = self.config, self.learner, self.learner.task
        temperature = calibrated_temperature(task, config)
        cosines = learner.cosines(task.test_images)
        record = Record(
            class_names=task.class_names,
            temperature=temperature,
            parameters=sum(parameter.numel() for parameter in learner.model.parameters()),
            losses=self.trace,
            environment=describe_environment(config.device, config.threads),
            arrays=result_arrays(task, (cosines * config.training.scale / temperature).softmax(dim=1)),
        )
        if not config.local_only:
            pairs, prototypes = self.session.exchanged(config.rounds - 1)
            arrays = record.arrays | cloud_arrays(pairs, prototypes)
            record = replace(record, generator=asdict(self.session.reply), pairs=len(pairs), arrays=arrays)
        write_record(self.out, record)
        channels, size = task.shot_images.shape[1:3]
        facts = ModelFacts(task.class_names, size, channels, temperature)
        export_onnx(
            PictureClassifier(learner.model, config.training.scale, temperature), facts, self.out / "model.onnx"
        )

    def _take_time(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now

    def _save(self) -> None:
        self._take_time()
        learner = self.learner
        progress = {
            "round": learner.round,
            "round_step": learner.round_step,
            "losses": vars(learner.losses),
            "rows": self.rows,
            "trace": self.trace,
            "seconds": self.seconds,
        }
        save_checkpoint(self.out / "checkpoint.safetensors", learner.state(), progress)
        self._write_metrics()
        self._saved = time.monotonic()

    def _write_metrics(self) -> None:
        lines = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomically(self.out / "metrics.jsonl", lines.encode())
