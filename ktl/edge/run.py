"""One edge's run: the loop with a single client, and what a finished run is made ready for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ktl.checkpoint import load_checkpoint
from ktl.data import check_apart
from ktl.data.fewshot import FewShotTask
from ktl.data.reading import Ranges
from ktl.edge.calibration import temperature_for
from ktl.edge.onnx.model_file import ModelFacts, PictureClassifier, export_onnx
from ktl.edge.record import (
    Record,
    cloud_arrays,
    describe_environment,
    is_finished,
    read_record,
    result_arrays,
    write_record,
)
from ktl.edge.settings import RunConfig
from ktl.edge.task import draw, settled, settled_as, task_to_test
from ktl.errors import UsageError
from ktl.files import Row, write_json
from ktl.learning.evaluation import Evaluation
from ktl.learning.learner import EdgeLearner
from ktl.learning.outlook import stretches
from ktl.learning.pace import Timekeeper
from ktl.learning.process import is_available, prepare_process
from ktl.learning.schedule import Span
from ktl.loop.connection import CloudConnection
from ktl.loop.exchange import CloudExchange, session_request
from ktl.loop.folder import RunFolder, load_config
from ktl.loop.one_edge import OneEdge
from ktl.loop.rounds import Loop, Observer, Round, Scores
from ktl.loop.settings import MIN_DOWNLOAD
from ktl.methods.base import Method, Problem
from ktl.methods.fedktl import FedKTL
from ktl.methods.local import Local
from ktl.models.edge_model import extractor_weights
from ktl.run_folder import CHECKPOINT
from ktl.settings import NoSettings
from ktl.wire import decode_pairs, decode_prototypes, warm_start_bytes

CHECKPOINT_SECONDS = 10.0
OPENING_BYTES = 2_000  # of the download budget, kept for the reply that opens a session


@dataclass(frozen=True)
class RunResult:
    """rows: one per round, as in metrics.jsonl; evaluation: of the final model; ranges: of deep pictures."""

    out: Path
    rows: list[Row]
    evaluation: Evaluation
    ranges: Ranges = field(default_factory=dict)


def train_edge(
    config: RunConfig,
    out: Path,
    connection: CloudConnection | None = None,
    *,
    task: FewShotTask | None = None,
    resume: bool = False,
    observer: Observer = Observer(),
    timekeeper: Timekeeper[RunConfig] | None = None,
) -> RunResult:
    """Trains one edge, with a cloud's help or (`config.transfer` None) without, into the run directory `out`.

    The folder gets config.json, data.json, labels.json, metrics.jsonl, checkpoint.safetensors, model.onnx, record.json,
    record.safetensors, and every payload under wire/. With `resume` a run goes on to the same bits as if it had never
    stopped; one that has ended is read, not written. `task`: `draw(config, out)`, if it is drawn. `timekeeper`: what
    `config` is from, and may change its numbers of steps under way; config.json has the last ones. Raises UsageError if
    `out` holds another run, or data; DataError for other data; Interrupted after `should_stop`.
    """
    if (config.transfer is None) == (connection is not None):
        raise UsageError("a run needs a cloud connection, unless its transfer is None: then it must have none")
    folder = RunFolder(out, resume_by=f"ktl edge train --resume {out}")
    if folder.begun:
        config = settled_as(config, load_config(out, RunConfig))
    folder.check(config, resume=resume)
    if is_finished(out):
        return read_result(out)
    check_apart(config.data.source, out)
    prepare_process(config.threads)
    task = draw(config, out) if task is None else task
    config = settled(config, task)
    run = EdgeRun(config, task, out, connection)
    folder.start(config, task.manifest)
    run.take_warm_start()
    write_json(out / "labels.json", task.class_names)
    if timekeeper is not None:
        observer = _kept_in_time(observer, timekeeper, run.learner, folder)
    observer.on_plan(stretches(config, task))
    loop = run.loop(folder, observer)
    return RunResult(out, loop.run(), run.finish(loop.trace), task.ranges)


def _kept_in_time(
    observer: Observer, timekeeper: Timekeeper[RunConfig], learner: EdgeLearner, folder: RunFolder
) -> Observer:
    """An observer that also gives the learner, and the run's folder, the numbers of steps that the time leaves."""

    def on_step(round_index: int, span: Span, step: int, loss: float) -> None:
        observer.on_step(round_index, span, step, loss)
        if timekeeper.took_step(round_index, span, step):
            learner.config = timekeeper.config
            folder.start(timekeeper.config)
            observer.on_plan(stretches(timekeeper.config, learner.task))

    return replace(observer, on_step=on_step)


def read_result(out: Path) -> RunResult:
    """What a finished run came to, from its folder alone. Raises CheckpointError for a damaged one."""
    record, folder = read_record(out), RunFolder(out)
    _, progress = folder.load()
    if "rows" not in progress:
        raise folder.misfit(KeyError("rows"))
    labels, predicted = (torch.from_numpy(record.arrays[name]) for name in ("labels", "predicted"))
    classes = len(record.class_names)
    confusion = torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    return RunResult(out, progress["rows"], Evaluation(confusion), record.ranges)


def load_run(out: Path, task: FewShotTask | None = None) -> EdgeLearner:
    """A run's saved model with its config and its task, or another one of the same classes and size.

    On the CPU where this machine has not the device that it was trained on. Raises CheckpointError, and DataError as
    `draw` does.
    """
    config = load_config(out, RunConfig)
    prepare_process(config.threads)
    tensors, _ = load_checkpoint(out / CHECKPOINT)
    config = config if is_available(config.device) else replace(config, device="cpu")
    task = draw(config, out) if task is None else task
    learner = EdgeLearner(task, config, etf_seed=config.seed, trained=True)
    learner.restore_model(tensors)
    return learner


def evaluate_run(out: Path, data: str | None = None) -> tuple[Evaluation, list[str]]:
    """Evaluates a run's saved model on its own test images; returns class names too.

    `data`: where they are now, if not where they were. Raises CheckpointError, and DataError as `draw` does.
    """
    learner = load_run(out, task_to_test(out, data))
    return learner.evaluate(), learner.task.class_names


def pair_bytes(config: RunConfig, channels: int, image_size: int) -> int:
    """Of a round's pairs: what the download budget leaves beside the opening and a warm start from the cloud.

    Raises UsageError where that is too little.
    """
    left = config.cloud.download_budget - OPENING_BYTES
    if config.warm_start == "cloud":
        warm = warm_start_bytes(extractor_weights(config.model, channels, image_size))
        left -= warm
        if left + OPENING_BYTES < MIN_DOWNLOAD * config.rounds:
            raise UsageError(
                f"download_budget is {config.cloud.download_budget}, of which a warm start of {config.model} takes "
                f"{warm:,} bytes: give at least {warm + MIN_DOWNLOAD * config.rounds:,} bytes"
            )
    return left // config.rounds


class EdgeRun:
    """What one edge's run has beside the loop: its session with a cloud, its rows, and what it leaves behind."""

    def __init__(self, config: RunConfig, task: FewShotTask, out: Path, connection: CloudConnection | None) -> None:
        self.config = config
        self.task = task
        self.out = out
        classes, channels, size = len(task.class_names), task.shot_images.shape[1], task.shot_images.shape[2]
        self.request = session_request(
            config.cloud,
            classes=classes,
            channels=channels,
            image_size=size,
            download_bytes=pair_bytes(config, channels, size),
            seed=config.seed,
            warm_starts=[config.model] if config.warm_start == "cloud" else [],
        )
        counts = task.shot_labels.bincount(minlength=classes)[None]
        problem = Problem(
            counts, channels, size, (config.model,), config.rounds, config.seed, config.training, self.request
        )
        self.exchange = None if connection is None else CloudExchange(self.request, out / "wire", connection)
        self.method: Method = Local(NoSettings(), problem)
        etf_seed = config.seed
        if self.exchange is not None:
            self.method = FedKTL(FedKTL.Settings(pool="none"), problem)  # one edge has nobody to pool with
            self.method.exchange = self.exchange
            etf_seed = self.exchange.about.etf_seed
        self.warm_start_bytes = 0  # down
        self.learner = EdgeLearner(task, config, etf_seed)  # refuses impossible settings before anything is written

    def take_warm_start(self) -> None:
        """Lets the learner begin with the cloud's extractor, if the run wants it."""
        if self.exchange is not None and self.config.warm_start == "cloud":
            payload = self.exchange.warm_start(self.config.model, self.learner.model.extractor.state_dict())
            self.learner.take_warm_start(payload)
            self.warm_start_bytes = len(payload)

    def loop(self, folder: RunFolder, observer: Observer) -> Loop:
        """The rounds of a federation of one."""
        return Loop(
            folder,
            self.method,
            OneEdge(self.learner, self.method),
            self.config.rounds,
            describe=self.row,
            participants=lambda round_index: ([0], {}),
            every_client=[0],
            save_every=CHECKPOINT_SECONDS,
            observer=observer,
        )

    def row(self, finished: Round, scores: Scores) -> Row:
        """A round's row of the metrics; the first one's bytes include the session's opening and the warm start."""
        outcome = finished.outcomes[0]
        up = down = 0
        if self.exchange is not None and finished.index == 0:
            up, down = self.exchange.opening
            down += self.warm_start_bytes
        sent, message = finished.sent[0].payloads, finished.message.payloads
        return {
            "round": finished.index + 1,
            "test_accuracy": outcome.right / outcome.tested,
            **outcome.losses,
            "bytes_up": up + len(sent.get("prototypes", b"")),
            "bytes_down": down + len(message.get("pairs", b"")),
        }

    def finish(self, trace: list[list[Any]]) -> Evaluation:
        """Calibrates the model, records what a report shows, exports the model, and evaluates it."""
        config, learner, task = self.config, self.learner, self.task
        temperature = temperature_for(learner)
        record = Record(
            class_names=task.class_names,
            temperature=temperature,
            parameters=sum(parameter.numel() for parameter in learner.model.parameters()),
            weights=learner.model.origin,
            losses=trace,
            environment=describe_environment(config.device, config.threads),
            ranges=task.ranges,
            arrays=result_arrays(task, (learner.logits(task.test_images) / temperature).softmax(dim=1)),
        )
        write_record(self.out, record if self.exchange is None else self._with_cloud(record, self.exchange))
        size, channels = self.request.image_size, self.request.channels
        facts = ModelFacts(task.class_names, size, channels, temperature, task.ranges, task.fit)
        export_onnx(PictureClassifier(learner.model, temperature), facts, self.out / "model.onnx")
        return learner.evaluate()

    def _with_cloud(self, record: Record, exchange: CloudExchange) -> Record:
        """The record with what the last round sent and received."""
        uploads, payload = exchange.kept(self.config.rounds - 1)
        pairs = decode_pairs(payload, self.request, exchange.about.latent_dim)
        prototypes = decode_prototypes(uploads[0], self.request.num_classes)
        arrays = record.arrays | cloud_arrays(pairs, prototypes)
        return replace(record, generator=asdict(exchange.about), pairs=len(pairs), arrays=arrays)
