"""A time budget becomes a number of steps."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from ktl.data.fewshot import FewShotTask
from ktl.errors import UsageError
from ktl.learning.learner import EdgeLearner
from ktl.learning.pace import Timekeeper
from ktl.learning.schedule import Span
from ktl.learning.settings import EdgeConfig, TrainingConfig
from ktl.objectives import TRANSFERS
from ktl.settings import with_values

LONG = EdgeConfig(
    rounds=2,
    training=TrainingConfig(steps=40_000),
    transfer=TRANSFERS.choose("image-vector", warmup_steps=80_000, warmup_batch=32, joint_batch=8),
    threads=1,
)


def test_a_run_that_fits_stays_as_it_is(small_task: FewShotTask) -> None:
    keeper = Timekeeper(EdgeConfig(threads=1), small_task, 3600.0)
    assert keeper.config == EdgeConfig(threads=1)
    assert keeper.share == 1.0


def test_both_stages_are_cut_in_one_proportion(small_task: FewShotTask) -> None:
    cut = Timekeeper(LONG, small_task, 20.0).config
    assert cut.training.steps is not None
    assert cut.transfer.settings.warmup_steps is not None
    assert 2 <= cut.training.steps < 40_000
    assert cut.transfer.settings.warmup_steps == pytest.approx(2 * cut.training.steps, abs=2)
    assert replace(cut, training=LONG.training, transfer=LONG.transfer) == LONG


@pytest.mark.timing
def test_the_cut_training_takes_about_the_time_that_was_given(small_task: FewShotTask) -> None:
    config = replace(LONG, rounds=1, transfer=None)
    cut = Timekeeper(config, small_task, 3.0).config
    started = time.perf_counter()
    EdgeLearner(small_task, cut, etf_seed=0).train_round(lambda *step: None, lambda: False)
    assert 0.3 < time.perf_counter() - started < 12.0  # a busy machine may change its pace in between


def test_a_task_without_a_warm_up_gets_none(small_task: FewShotTask) -> None:
    config = with_values(LONG, {"transfer.warmup_steps": 0})
    assert Timekeeper(config, small_task, 20.0).config.transfer.settings.warmup_steps == 0


def test_a_time_too_short_for_a_step_names_the_least(small_task: FewShotTask) -> None:
    with pytest.raises(
        UsageError, match=r"--time-budget 1e-06 is too short on this machine: give at least \d+ seconds"
    ):
        Timekeeper(LONG, small_task, 1e-6)


PACE = {"warm-up": 0.2, "shots": 0.1}
PLAN = with_values(EdgeConfig(threads=1), {"training.steps": 1000, "transfer.warmup_steps": 500})


class Clock:
    """Seconds that pass only when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_plan_that_is_cut_says_how_much_is_left_of_it(small_task: FewShotTask) -> None:
    clock = Clock()
    keeper = Timekeeper(PLAN, small_task, 80.0, PACE, clock)
    assert keeper.steps == {"warm-up": 180, "shots": 360}  # 0.9 x 80 of 200 seconds
    assert keeper.share == pytest.approx(0.36)
    assert keeper.whole_seconds == pytest.approx(200 / 0.9)


@pytest.mark.parametrize("seconds", [0.1, 0.4])
def test_the_plan_follows_the_pace_and_the_time_is_kept(small_task: FewShotTask, seconds: float) -> None:
    clock = Clock()
    keeper = Timekeeper(PLAN, small_task, 80.0, PACE, clock)
    done = {"warm-up": 0, "shots": 0}
    for name, cost in (("warm-up", seconds), ("shots", seconds / 2)):  # a machine twice as quick, or half as quick
        clock.now += 1000.0  # an exchange
        while done[name] < keeper.steps[name]:
            clock.now += cost
            done[name] += 1
            changed = keeper.took_step(0, Span(name, keeper.steps[name], 0, keeper.steps[name]), done[name])
            assert not changed or keeper.steps[name] >= done[name]
    config = keeper.config
    assert done == {"warm-up": config.transfer.settings.warmup_steps, "shots": config.training.steps}
    spent = done["warm-up"] * seconds + done["shots"] * seconds / 2
    assert 60.0 < spent < 80.0
    assert (keeper.share < 0.5) == (seconds > 0.2)


def test_a_steady_pace_changes_no_plan(small_task: FewShotTask) -> None:
    clock = Clock()
    keeper = Timekeeper(PLAN, small_task, 80.0, PACE, clock)
    for step in range(1, 181):
        clock.now += 0.2
        assert not keeper.took_step(0, Span("warm-up", 180, 0, 180), step)


def test_rounds_share_what_the_time_leaves(small_task: FewShotTask) -> None:
    clock = Clock()
    whole = with_values(EdgeConfig(rounds=4, transfer=None, threads=1), {"training.steps": 1000})
    keeper = Timekeeper(whole, small_task, 200.0, PACE, clock)
    assert keeper.config == whole
    for step in range(1, 251):
        clock.now += 0.1
        assert not keeper.took_step(0, Span("shots", 250, 0, 1000), step)
    for step in range(1, 21):
        clock.now += 1.0
        if keeper.took_step(1, Span("shots", 250, 250, 1000), step):
            break
    left = keeper.steps["shots"] * 3 / 4 - step  # in this round and the two to come
    assert left == pytest.approx((0.9 * 200 - 25 - step) / 1.0, abs=3)


def test_a_learner_goes_on_by_the_plan_that_it_is_given(small_task: FewShotTask) -> None:
    config = replace(LONG, rounds=1, transfer=None, training=TrainingConfig(steps=40))
    learner, seen = EdgeLearner(small_task, config, etf_seed=0), list[tuple[int, int]]()

    def on_step(span: Span, step: int, loss: float) -> None:
        seen.append((step, span.steps))
        if step == 5:
            learner.config = replace(config, training=TrainingConfig(steps=8))

    assert learner.train_round(on_step, lambda: False)
    assert seen == [*((step, 40) for step in range(1, 6)), (6, 8), (7, 8), (8, 8)]
