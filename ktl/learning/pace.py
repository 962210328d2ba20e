"""How fast this machine trains, and as many steps as fit into the time that a user gives."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from ktl.config import RunConfig
from ktl.data.fewshot import FewShotTask
from ktl.errors import UsageError
from ktl.learning.learner import EdgeLearner
from ktl.learning.process import prepare_process
from ktl.learning.schedule import Stage, stages
from ktl.pairs import ImageVectorPairs
from ktl.seeds import stream

TIMED_STEPS = 6  # of each stage; the first ones also allocate and are left out
LEFT_OUT = 3
LATENT_DIM = 512  # a step's time hardly depends on it
SHARE = 0.9  # of the time given; the rest is for the exchange and the evaluation


def fit_to_time(config: RunConfig, task: FewShotTask, seconds: float) -> RunConfig:
    """`config` with its steps cut in one proportion so that training takes about `seconds` on this machine.

    What fits already stays as it is: longer than the defaults has shown no gain. The result is a plain config, so a
    run of it is as reproducible as any. Raises UsageError for a time too short for even one step of each stage a round.
    """
    prepare_process(config.threads)
    planned = [stage for r in range(config.rounds) for stage in _stages(config, task, r)]
    pace = _seconds_per_step(config, task)
    share = SHARE * seconds / sum(stage.steps * pace[stage.name] for stage in planned)
    if share >= 1.0:
        return config
    steps = {name: int(share * sum(s.steps for s in planned if s.name == name)) for name in pace}
    if steps["shots"] < config.rounds:
        needed = seconds * config.rounds / (share * sum(s.steps for s in planned if s.name == "shots"))
        raise UsageError(f"--time-budget {seconds:g} is too short on this machine: give at least {needed:.0f} seconds")
    training = replace(config.training, steps=steps["shots"])
    return replace(config, training=training, transfer=replace(config.transfer, warmup_steps=steps.get("warm-up", 0)))


def _stages(config: RunConfig, task: FewShotTask, round_index: int) -> list[Stage]:
    return stages(config, round_index, len(task.shot_labels), len(task.class_names))


def _seconds_per_step(config: RunConfig, task: FewShotTask) -> dict[str, float]:
    """By stage, from a few steps of each on made-up pairs."""
    with_warmup = any(stage.name == "warm-up" for stage in _stages(config, task, 0))
    trial = replace(
        config,
        rounds=1,
        training=replace(config.training, steps=TIMED_STEPS),
        transfer=replace(config.transfer, warmup_steps=TIMED_STEPS if with_warmup else 0),
    )
    learner = EdgeLearner(task, trial, etf_seed=config.seed)
    if not config.local_only:
        learner.receive(_made_up_pairs(task, learner.warmup_batch()))
    ended: dict[str, list[float]] = {}
    learner.train_round(
        lambda stage, step, loss: ended.setdefault(stage.name, []).append(time.perf_counter()), lambda: False
    )
    return {name: (times[-1] - times[LEFT_OUT - 1]) / (TIMED_STEPS - LEFT_OUT) for name, times in ended.items()}


def _made_up_pairs(task: FewShotTask, count: int) -> ImageVectorPairs:
    rng = stream(0, "made-up pairs")
    images = torch.randint(0, 256, (count, *task.shot_images.shape[1:]), dtype=torch.uint8, generator=rng)
    return ImageVectorPairs(
        images, torch.randn(count, LATENT_DIM, generator=rng), torch.zeros(count, dtype=torch.int64)
    )
