"""Cross-validation over a run's shots: each is asked of a model that learnt from the others, in as many steps.

Pairs are those that the run received: what was asked of the cloud for them were prototypes of all shots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ktl.data.fewshot import FewShotTask
from ktl.edge.compare import without_cloud
from ktl.edge.folds_file import CrossValidation, FoldAnswers, read_answers
from ktl.edge.kept_pairs import pair_files, read_pairs
from ktl.edge.record import read_record
from ktl.edge.run import load_run
from ktl.edge.settings import RunConfig
from ktl.errors import Interrupted, UsageError
from ktl.learning.learner import EdgeLearner
from ktl.learning.schedule import round_plan
from ktl.loop.exchange import warm_start_file
from ktl.loop.folder import load_config
from ktl.pairs import ImageVectorPairs
from ktl.seeds import stream

KTL, LOCAL = "KTL", "local only"


@dataclass(frozen=True)
class Arm:
    """One training that is done on each fold; pairs: of each round, none without a cloud; what it begins with."""

    name: str
    config: RunConfig
    etf_seed: int
    pairs: list[ImageVectorPairs]
    warm_start: bytes | None = None


def cross_validate(
    run: Path,
    folds: int,
    *,
    on_fold: Callable[[int, dict[str, list[bool]]], None] = lambda fold, right: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> CrossValidation:
    """Of the finished run in `run`; answers are kept in its folds.json after each fold, and not asked for again.

    `on_fold` gets a fold, from 0, and by training whether its shots were classified right. Raises UsageError for folds
    that the shots cannot be split into, Interrupted after `should_stop`, CheckpointError for an unfinished run.
    """
    task = load_run(run).task
    fold_of = split_into_folds(task, folds, load_config(run, RunConfig).seed)
    arms, kept = _arms(run, task), read_answers(run)
    if kept is None or (kept.folds, kept.shots) != (folds, len(fold_of)):
        kept = FoldAnswers(folds, len(fold_of))
    for fold in range(folds):
        shots: list[int] = (fold_of == fold).nonzero().squeeze(1).tolist()
        for arm in arms:
            answers = kept.right.setdefault(arm.name, {})
            if any(shot not in answers for shot in shots):
                right = _answers(arm, task, fold_of == fold, should_stop)
                if right is None:
                    again = f"ktl edge train --resume {run} --folds {folds}"
                    raise Interrupted(f"stopped in fold {fold + 1}; go on with: {again}")
                answers |= dict(zip(shots, right, strict=True))
                kept.save(run)
        on_fold(fold, {arm.name: [kept.right[arm.name][shot] for shot in shots] for arm in arms})
    return kept.result


def split_into_folds(task: FewShotTask, folds: int, seed: int) -> Tensor:
    """The fold of each shot, (n,) int64 from 0: every class, and all shots, in parts that are equal within one.

    Raises UsageError unless there are at least two folds, as many shots, and two shots of each class.
    """
    labels, names = task.shot_labels, task.class_names
    counts = labels.bincount(minlength=len(names))
    if int(counts.min()) < 2:
        name = names[int(counts.argmin())]
        raise UsageError(
            f"--folds needs 2 labelled images of each class, and {name!r} has {int(counts.min())}: label more"
        )
    if not 2 <= folds <= len(labels):
        raise UsageError(f"--folds is {folds}: give 2 to {len(labels)}, the labelled images")
    shuffled = torch.randperm(len(labels), generator=stream(seed, "folds"))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    fold_of = torch.empty_like(labels)
    fold_of[by_class] = torch.arange(len(labels)) % folds
    return fold_of


def _arms(run: Path, task: FewShotTask) -> list[Arm]:
    config, record = load_config(run, RunConfig), read_record(run)
    alone = without_cloud(config)
    arms = [Arm(LOCAL, _with_as_many_steps(alone, task), config.seed, [])]
    if config.transfer is not None:
        pairs = [read_pairs(file, record) for file in pair_files(run)]
        warm_start = warm_start_file(run / "wire", config.model).read_bytes() if config.warm_start == "cloud" else None
        own = _with_as_many_steps(config, task)
        arms.insert(0, Arm(KTL, own, record.generator["etf_seed"], pairs, warm_start))
    return arms


def _with_as_many_steps(config: RunConfig, task: FewShotTask) -> RunConfig:
    """The steps that all shots have by default, for fewer of them too."""
    plan = round_plan(config, 0, len(task.shot_labels), len(task.class_names))
    return replace(config, training=replace(config.training, steps=plan.shots.total))


def _answers(arm: Arm, task: FewShotTask, held_out: Tensor, should_stop: Callable[[], bool]) -> list[bool] | None:
    """Whether the shots in `held_out` are classified right after training on the others; None if it was stopped."""
    others = replace(task, shot_images=task.shot_images[~held_out], shot_labels=task.shot_labels[~held_out])
    learner = EdgeLearner(others, arm.config, arm.etf_seed)
    if arm.warm_start is not None:
        learner.take_warm_start(arm.warm_start)
    for round_index in range(arm.config.rounds):
        learner.start_round(round_index)
        if arm.pairs:
            learner.receive(arm.pairs[round_index])
        if not learner.train_round(lambda *_: None, should_stop):
            return None
    predicted = learner.logits(task.shot_images[held_out]).argmax(dim=1)
    right: list[bool] = (predicted == task.shot_labels[held_out]).tolist()
    return right
