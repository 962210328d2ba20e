"""A time budget becomes a number of steps."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from ktl.data.fewshot import FewShotTask
from ktl.edge.settings import RunConfig
from ktl.errors import UsageError
from ktl.learning.learner import EdgeLearner
from ktl.learning.pace import fit_to_time
from ktl.learning.settings import TrainingConfig
from ktl.objectives import TRANSFERS
from ktl.settings import with_values

LONG = RunConfig(
    rounds=2,
    training=TrainingConfig(steps=40_000),
    transfer=TRANSFERS.choose("image-vector", warmup_steps=80_000, warmup_batch=32, joint_batch=8),
    threads=1,
)


def test_a_run_that_fits_stays_as_it_is(small_task: FewShotTask) -> None:
    assert fit_to_time(RunConfig(threads=1), small_task, 3600.0) == RunConfig(threads=1)


def test_both_stages_are_cut_in_one_proportion(small_task: FewShotTask) -> None:
    cut = fit_to_time(LONG, small_task, 20.0)
    assert cut.training.steps is not None
    assert cut.transfer.settings.warmup_steps is not None
    assert 2 <= cut.training.steps < 40_000
    assert cut.transfer.settings.warmup_steps == pytest.approx(2 * cut.training.steps, abs=2)
    assert replace(cut, training=LONG.training, transfer=LONG.transfer) == LONG


@pytest.mark.timing
def test_the_cut_training_takes_about_the_time_that_was_given(small_task: FewShotTask) -> None:
    config = replace(LONG, rounds=1, transfer=None)
    cut = fit_to_time(config, small_task, 3.0)
    started = time.perf_counter()
    EdgeLearner(small_task, cut, etf_seed=0).train_round(lambda *step: None, lambda: False)
    assert 0.3 < time.perf_counter() - started < 12.0  # a busy machine may change its pace in between


def test_a_task_without_a_warm_up_gets_none(small_task: FewShotTask) -> None:
    config = with_values(LONG, {"transfer.warmup_steps": 0})
    assert fit_to_time(config, small_task, 20.0).transfer.settings.warmup_steps == 0


def test_a_time_too_short_for_a_step_names_the_least(small_task: FewShotTask) -> None:
    with pytest.raises(
        UsageError, match=r"--time-budget 1e-06 is too short on this machine: give at least \d+ seconds"
    ):
        fit_to_time(LONG, small_task, 1e-6)
