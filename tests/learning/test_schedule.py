"""When an edge does what."""

from __future__ import annotations

import pytest

from ktl.edge.settings import RunConfig
from ktl.errors import UsageError
from ktl.learning.schedule import Stage, pairs_per_class, rate_factor, stages, warmup_batch
from ktl.learning.settings import RECIPES, TrainingConfig
from ktl.loop.settings import CloudConfig
from ktl.objectives.pairs import TransferConfig


def shots_stages(config: RunConfig, num_shots: int = 20) -> list[Stage]:
    return [stages(config, r, num_shots, 10)[-1] for r in range(config.rounds)]


@pytest.mark.parametrize(("steps", "rounds"), [(600, 1), (600, 7), (10, 3), (5, 5)])
def test_the_steps_of_all_rounds_add_up_to_those_asked_for(steps: int, rounds: int) -> None:
    each = shots_stages(RunConfig(rounds=rounds, training=TrainingConfig(steps=steps)))
    assert sum(stage.steps for stage in each) == steps
    assert max(stage.steps for stage in each) - min(stage.steps for stage in each) <= 1
    assert {stage.total for stage in each} == {steps}


def test_each_round_goes_on_with_the_schedule_where_the_last_one_ended() -> None:
    each = shots_stages(RunConfig(rounds=3, training=TrainingConfig(steps=10)))
    assert [(stage.first, stage.steps) for stage in each] == [(0, 3), (3, 3), (6, 4)]


def test_the_warm_up_comes_before_the_shots_of_the_first_round_only() -> None:
    config = RunConfig(rounds=2, training=TrainingConfig(steps=8), transfer=TransferConfig(warmup_steps=5))
    assert stages(config, 0, 20, 10) == [Stage("warm-up", 5, 0, 5), Stage("shots", 4, 0, 8)]
    assert stages(config, 1, 20, 10) == [Stage("shots", 4, 4, 8)]


def test_without_a_cloud_there_is_no_warm_up() -> None:
    config = RunConfig(local_only=True, training=TrainingConfig(steps=8), transfer=TransferConfig(warmup_steps=5))
    assert stages(config, 0, 20, 10) == [Stage("shots", 8, 0, 8)]


@pytest.mark.parametrize(("num_shots", "epoch"), [(20, 2), (21, 3), (4, 1)])
def test_the_published_recipe_passes_once_over_the_shots_in_each_round(num_shots: int, epoch: int) -> None:
    config = RunConfig(rounds=3, training=RECIPES["published"], transfer=TransferConfig(warmup_steps=0))
    assert [stage.steps for stage in shots_stages(config, num_shots)] == [epoch] * 3
    assert [len(stages(config, r, num_shots, 10)) for r in range(3)] == [1, 1, 1]


def test_the_published_recipe_keeps_its_rate() -> None:
    assert {rate_factor(RECIPES["published"].schedule, step / 50) for step in range(50)} == {1.0}


def test_one_cycle_starts_low_rises_to_one_and_ends_near_nothing() -> None:
    factors = [rate_factor("one-cycle", step / 400) for step in range(400)]
    assert factors[0] == pytest.approx(0.04)
    assert max(factors) == factors[100] == 1.0
    assert factors[:101] == sorted(factors[:101])
    assert factors[100:] == sorted(factors[100:], reverse=True)
    assert 0.0 < factors[-1] < 1e-4


def test_fewer_steps_than_rounds_are_refused() -> None:
    config = RunConfig(rounds=3, training=TrainingConfig(steps=2))
    with pytest.raises(UsageError, match="2 steps over 3 rounds: give at least one step a round"):
        stages(config, 0, 20, 10)


@pytest.mark.parametrize(("classes", "warmup"), [(2, 612), (10, 660), (100, 1200), (1000, 1200)])
def test_a_warm_up_is_longer_for_more_classes_and_bounded(classes: int, warmup: int) -> None:
    [stage, _] = stages(RunConfig(), 0, 2 * classes, classes)
    assert (stage.name, stage.steps) == ("warm-up", warmup)


@pytest.mark.parametrize(
    ("classes", "pairs", "batch"), [(2, 350, 96), (10, 70, 96), (15, 90, 176), (20, 100, 256), (100, 20, 256)]
)
def test_few_classes_in_grey_ask_for_fewer_pairs_and_smaller_batches(classes: int, pairs: int, batch: int) -> None:
    assert pairs_per_class(CloudConfig(), classes, channels=1) == pairs
    assert warmup_batch(TransferConfig(), classes, channels=1) == batch


@pytest.mark.parametrize(("classes", "pairs"), [(2, 1000), (10, 200), (20, 100), (100, 20)])
def test_in_colour_the_classes_share_2000_pairs(classes: int, pairs: int) -> None:
    assert pairs_per_class(CloudConfig(), classes, channels=3) == pairs
    assert warmup_batch(TransferConfig(), classes, channels=3) == 256


def test_a_number_of_ones_own_goes_before_these() -> None:
    assert pairs_per_class(CloudConfig(pairs_per_class=7), 10, channels=1) == 7
    assert warmup_batch(TransferConfig(warmup_batch=9), 10, channels=1) == 9


@pytest.mark.parametrize(("num_shots", "steps"), [(20, 600), (200, 600), (900, 40 * 29), (2300, 40 * 72)])
def test_shots_are_passed_forty_times_and_in_600_steps_at_least(num_shots: int, steps: int) -> None:
    assert sum(stage.steps for stage in shots_stages(RunConfig(rounds=2), num_shots)) == steps
