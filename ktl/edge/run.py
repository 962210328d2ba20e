"""One edge's run, and a finished one made ready to be used again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from ktl.checkpoint import load_checkpoint
from ktl.data import check_apart
from ktl.data.fewshot import FewShotTask
from ktl.data.reading import Ranges
from ktl.edge.edge_run import EdgeRun
from ktl.edge.record import is_finished, read_record
from ktl.edge.session_run import SessionRun
from ktl.edge.settings import RunConfig
from ktl.edge.task import draw, settled, settled_as, task_to_test
from ktl.errors import UsageError
from ktl.files import Row, write_json
from ktl.learning.evaluation import Evaluation, evaluate
from ktl.learning.learner import EdgeLearner
from ktl.learning.outlook import stretches
from ktl.learning.pace import Timekeeper
from ktl.learning.process import is_available, prepare_process
from ktl.learning.schedule import Span
from ktl.loop.connection import CloudConnection, SharedConnection
from ktl.loop.folder import RunFolder, load_config
from ktl.loop.kept_session import KeptSession
from ktl.loop.one_edge import OneEdge
from ktl.loop.rounds import Observer
from ktl.run_folder import CHECKPOINT


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
    run = _edge_run(config, task, out, connection)
    folder.start(config, task.manifest)
    run.take_warm_start()
    write_json(out / "labels.json", task.class_names)
    if timekeeper is not None:
        observer = _kept_in_time(observer, timekeeper, run.learner, folder)
    observer.on_plan(stretches(config, task))
    loop = run.loop(folder, observer)
    return RunResult(out, loop.run(), run.finish(loop.trace), task.ranges)


def _edge_run(config: RunConfig, task: FewShotTask, out: Path, connection: CloudConnection | None) -> EdgeRun:
    if config.shared != isinstance(connection, SharedConnection):
        raise UsageError("a run needs a connection to a session of several edges where it names one, and only there")
    if isinstance(connection, SharedConnection):
        return SessionRun(config, task, out, connection)
    return EdgeRun(config, task, out, connection)


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


def load_pooled(out: Path, data: str | None = None) -> tuple[EdgeLearner, nn.Module]:
    """The learner of a finished run in a session of several edges, with its images, and what it classifies by.

    `data`: where its images are now, if not where they were. Raises CheckpointError, and DataError as `draw` does.
    """
    config = load_config(out, RunConfig)
    prepare_process(config.threads)
    config = config if is_available(config.device) else replace(config, device="cpu")
    run = SessionRun(config, draw(config, out, data), out, KeptSession(out / "wire", config.seed))
    folder = RunFolder(out)
    tensors, progress = folder.load()
    try:
        messages = {index: message for index, (_, message) in run.method.answered().items()}
        OneEdge(run.learner, run.method).restore(out, tensors, progress["clients"], messages)
    except (LookupError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise folder.misfit(error) from error
    return run.learner, run.trained_model()[0]


def evaluate_run(out: Path, data: str | None = None) -> tuple[Evaluation, list[str]]:
    """Evaluates a run's saved model on its own test images; returns class names too.

    `data`: where they are now, if not where they were. Raises CheckpointError, and DataError as `draw` does.
    """
    if load_config(out, RunConfig).shared:
        learner, model = load_pooled(out, data)
    else:
        learner = load_run(out, task_to_test(out, data))
        model = learner.model
    task = learner.task
    tested = evaluate(model, task.test_images, task.test_labels, len(task.class_names), learner.device)
    return tested, task.class_names
