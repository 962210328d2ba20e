"""As many steps as fit into the time that a user gives, by this machine's pace before and while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Generic, TypeVar

import torch

from ktl.data.fewshot import FewShotTask
from ktl.errors import UsageError
from ktl.learning.learner import EdgeLearner
from ktl.learning.outlook import stretches
from ktl.learning.process import prepare_process
from ktl.learning.schedule import Span, round_plan
from ktl.learning.settings import EdgeConfig
from ktl.pairs import ImageVectorPairs
from ktl.registry import chosen
from ktl.seeds import stream

Config = TypeVar("Config", bound=EdgeConfig)

TIMED_STEPS = 6  # of each stage, before it trains; the first ones also allocate and are left out
LEFT_OUT = 3
LATENT_DIM = 512  # a step's time hardly depends on it
SHARE = 0.9  # of the time given; the rest is for the exchange and the evaluation
CHECKED = 0.05  # of the time given, after which the pace is measured again
NOTICED = 0.1  # of the steps that are left: a smaller change is none
WARM_UP, SHOTS = "warm-up", "shots"


class Timekeeper(Generic[Config]):
    """Keeps a training within `seconds`: as much of what `whole` plans as fits, both stages cut in one proportion.

    `config` is `whole` with the present numbers of steps; what fits stays as it is. The pace is measured on this
    machine before the first step and again while it trains (`took_step`); exchanges and evaluations are not counted.
    Raises UsageError for a time too short for even one step on the shots in each round.
    """

    def __init__(
        self,
        whole: Config,
        task: FewShotTask,
        seconds: float,
        pace: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`pace`: seconds per step by the names of spans, if they are known before the first one."""
        self.whole = self.config = whole
        self.seconds = seconds
        self.planned = {stretch.name: stretch.steps for stretch in stretches(whole, task)}
        self.steps = dict(self.planned)  # that are planned at present
        self._clock = clock
        self._pace = dict(pace or measured_pace(whole, task))
        self._spent = self._window_seconds = self._last = 0.0
        self._window_steps = 0
        self._place: tuple[int, str] | None = None  # round and span of the last step
        self._plan_anew(0, WARM_UP if WARM_UP in self.planned else SHOTS, 0)
        if self.whole_seconds > seconds and self.steps[SHOTS] <= whole.rounds:
            least = self.whole_seconds * (whole.rounds + 1) / self.planned[SHOTS]
            raise UsageError(
                f"--time-budget {seconds:g} is too short on this machine: give at least {least:.0f} seconds"
            )

    @property
    def share(self) -> float:
        """Of the planned steps, those that are left of the plan at present, 0..1."""
        return sum(self.steps.values()) / sum(self.planned.values())

    @property
    def whole_seconds(self) -> float:
        """What the whole plan would need, at the present pace."""
        return sum(steps * self._pace[name] for name, steps in self.planned.items()) / SHARE

    def took_step(self, round_index: int, span: Span, step: int) -> bool:
        """To be told after each step; returns whether `config` has other numbers of steps from now on."""
        now, place = self._clock(), (round_index, span.name)
        if place == self._place:
            self._spent += now - self._last
            self._window_seconds += now - self._last
            self._window_steps += 1
        else:
            self._window_seconds, self._window_steps = 0.0, 0
        self._place, self._last = place, now
        if self._window_steps < LEFT_OUT or self._window_seconds < CHECKED * self.seconds:
            return False
        change = self._window_seconds / self._window_steps / self._pace[span.name]
        self._pace = {name: pace * change for name, pace in self._pace.items()}
        self._window_seconds, self._window_steps = 0.0, 0
        return self._plan_anew(round_index, span.name, step)

    def _plan_anew(self, round_index: int, span: str, step: int) -> bool:
        """Fits the steps that come after `step` of a span to the time that is left; False where that changes little."""
        time_left = max(SHARE * self.seconds - self._spent, 0.0)
        rounds_left = (self.whole.rounds - round_index) / self.whole.rounds
        done, pace, planned, steps = {WARM_UP: 0, SHOTS: 0} | {span: step}, self._pace, self.planned, dict(self.steps)
        if span == WARM_UP:
            needed = sum(count * pace[name] for name, count in planned.items())
            share = min(1.0, (time_left + step * pace[WARM_UP]) / needed)
            steps[WARM_UP] = max(step, int(share * planned[WARM_UP]))
            time_left = max(time_left - (steps[WARM_UP] - step) * pace[WARM_UP], 0.0)
        shots = int((time_left / pace[SHOTS] + done[SHOTS]) / rounds_left)
        steps[SHOTS] = min(planned[SHOTS], max(self.whole.rounds, shots))
        left, before = (
            (plan[WARM_UP] - step if span == WARM_UP else 0) + plan[SHOTS] * rounds_left - done[SHOTS]
            for plan in (steps, self.steps)
        )
        if abs(left - before) <= NOTICED * max(before, 1.0):
            return False
        self.steps = steps
        self.config = _with_steps(self.whole, steps[SHOTS], steps.get(WARM_UP, 0))
        return True


def _with_steps(config: Config, shots: int, warm_up: int) -> Config:
    training = replace(config.training, steps=shots)
    if config.transfer is None:
        return replace(config, training=training)
    transfer = chosen(config.transfer)
    steps = "warm_started_steps" if config.warm_start == "cloud" else "warmup_steps"
    transfer = replace(transfer, settings=replace(transfer.settings, **{steps: warm_up}))
    return replace(config, training=training, transfer=transfer)


def measured_pace(config: EdgeConfig, task: FewShotTask) -> dict[str, float]:
    """Seconds per step by the names of spans, from a few steps of each on made-up pairs."""
    prepare_process(config.threads)
    warmed = round_plan(config, 0, len(task.shot_labels), len(task.class_names)).warm_up.steps > 0
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
