"""How fast this machine trains, and as many steps as fit into the time that a user gives."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TypeVar

import torch

from ktl.data.fewshot import FewShotTask
from ktl.errors import UsageError
from ktl.learning.learner import EdgeLearner
from ktl.learning.process import prepare_process
from ktl.learning.schedule import RoundPlan, Span, round_plan
from ktl.learning.settings import EdgeConfig
from ktl.pairs import ImageVectorPairs
from ktl.registry import chosen
from ktl.seeds import stream

Config = TypeVar("Config", bound=EdgeConfig)

TIMED_STEPS = 6  # of each stage; the first ones also allocate and are left out
LEFT_OUT = 3
LATENT_DIM = 512  # a step's time hardly depends on it
SHARE = 0.9  # of the time given; the rest is for the exchange and the evaluation


def fit_to_time(config: Config, task: FewShotTask, seconds: float) -> Config:
    """`config` with its steps cut in one proportion so that training takes about `seconds` on this machine.

    What fits already stays as it is: longer than the defaults has shown no gain. The result is a plain config, so a
    run of it is as reproducible as any. Raises UsageError for a time too short for even one step per stage and round.
    """
    prepare_process(config.threads)
    planned = [span for r in range(config.rounds) for span in _plan(config, task, r).spans]
    pace = _seconds_per_step(config, task)
    share = SHARE * seconds / sum(span.steps * pace[span.name] for span in planned)
    if share >= 1.0:
        return config
    steps = {name: int(share * sum(s.steps for s in planned if s.name == name)) for name in pace}
    if steps["shots"] < config.rounds:
        needed = seconds * config.rounds / (share * sum(s.steps for s in planned if s.name == "shots"))
        raise UsageError(f"--time-budget {seconds:g} is too short on this machine: give at least {needed:.0f} seconds")
    return _with_steps(config, steps["shots"], steps.get("warm-up", 0))


def _with_steps(config: Config, shots: int, warm_up: int) -> Config:
    training = replace(config.training, steps=shots)
    if config.transfer is None:
        return replace(config, training=training)
    transfer = chosen(config.transfer)
    steps = "warm_started_steps" if config.warm_start == "cloud" else "warmup_steps"
    transfer = replace(transfer, settings=replace(transfer.settings, **{steps: warm_up}))
    return replace(config, training=training, transfer=transfer)


def _plan(config: EdgeConfig, task: FewShotTask, round_index: int) -> RoundPlan:
    return round_plan(config, round_index, len(task.shot_labels), len(task.class_names))


def _seconds_per_step(config: EdgeConfig, task: FewShotTask) -> dict[str, float]:
    """By the names of spans, from a few steps of each on made-up pairs."""
    warmed = _plan(config, task, 0).warm_up.steps > 0
    trial = _with_steps(replace(config, rounds=1), TIMED_STEPS, TIMED_STEPS if warmed else 0)
    learner = EdgeLearner(task, trial, etf_seed=config.seed)
    if config.transfer is not None:
        learner.receive(_made_up_pairs(task, learner.warmup_batch()))
    ended: dict[str, list[float]] = {}

    def on_step(span: Span, step: int, loss: float) -> None:
        ended.setdefault(span.name, []).append(time.perf_counter())

    learner.train_round(on_step, lambda: False)
    return {name: (times[-1] - times[LEFT_OUT - 1]) / (TIMED_STEPS - LEFT_OUT) for name, times in ended.items()}


def _made_up_pairs(task: FewShotTask, count: int) -> ImageVectorPairs:
    rng = stream(0, "made-up pairs")
    images = torch.randint(0, 256, (count, *task.shot_images.shape[1:]), dtype=torch.uint8, generator=rng)
    return ImageVectorPairs(
        images, torch.randn(count, LATENT_DIM, generator=rng), torch.zeros(count, dtype=torch.int64)
    )
