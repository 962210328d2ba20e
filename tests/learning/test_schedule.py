"""When an edge does what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ktl.edge.settings import RunConfig
from ktl.errors import UsageError
from ktl.learning.schedule import (
    Span,
    body_rate,
    default_pairs_per_class,
    joint_batch,
    rate_factor,
    round_plan,
    warmup_batch,
)
from ktl.learning.settings import RECIPES, TrainingConfig
from ktl.loop.exchange import session_request
from ktl.loop.settings import CloudConfig
from ktl.objectives import TRANSFERS
from ktl.objectives.settings import TransferSettings


def shots_spans(config: RunConfig, num_shots: int = 20) -> list[Span]:
    return [round_plan(config, r, num_shots, 10).shots for r in range(config.rounds)]


@pytest.mark.parametrize(("steps", "rounds"), [(600, 1), (600, 7), (10, 3), (5, 5)])
def test_the_steps_of_all_rounds_add_up_to_those_asked_for(steps: int, rounds: int) -> None:
    each = shots_spans(RunConfig(rounds=rounds, training=TrainingConfig(steps=steps)))
    assert sum(span.steps for span in each) == steps
    assert max(span.steps for span in each) - min(span.steps for span in each) <= 1
    assert {span.total for span in each} == {steps}


def test_each_round_goes_on_with_the_schedule_where_the_last_one_ended() -> None:
    each = shots_spans(RunConfig(rounds=3, training=TrainingConfig(steps=10)))
    assert [(span.first, span.steps) for span in each] == [(0, 3), (3, 3), (6, 4)]


def test_the_warm_up_comes_before_the_shots_of_the_first_round_only() -> None:
    config = RunConfig(
        rounds=2, training=TrainingConfig(steps=8), transfer=TRANSFERS.choose("image-vector", warmup_steps=5)
    )
    assert round_plan(config, 0, 20, 10).spans == [Span("warm-up", 5, 0, 5), Span("shots", 4, 0, 8)]
    assert round_plan(config, 1, 20, 10).spans == [Span("shots", 4, 4, 8)]


def test_without_a_cloud_there_is_no_warm_up() -> None:
    config = RunConfig(transfer=None, training=TrainingConfig(steps=8))
    assert round_plan(config, 0, 20, 10).spans == [Span("shots", 8, 0, 8)]


@pytest.mark.parametrize(("num_shots", "epoch"), [(20, 2), (21, 3), (4, 1)])
def test_the_published_recipe_passes_once_over_the_shots_in_each_round(num_shots: int, epoch: int) -> None:
    config = RunConfig(
        rounds=3, training=RECIPES["published"], transfer=TRANSFERS.choose("image-vector", warmup_steps=0)
    )
    assert [span.steps for span in shots_spans(config, num_shots)] == [epoch] * 3
    assert [len(round_plan(config, r, num_shots, 10).spans) for r in range(3)] == [1, 1, 1]


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
    with pytest.raises(UsageError, match="2 steps over 3 rounds: give at least one step per round"):
        round_plan(config, 0, 20, 10)


@pytest.mark.parametrize(("classes", "warmup"), [(2, 612), (10, 660), (100, 1200), (1000, 1200)])
def test_a_warm_up_is_longer_for_more_classes_and_bounded(classes: int, warmup: int) -> None:
    warm_up = round_plan(RunConfig(), 0, 2 * classes, classes).warm_up
    assert (warm_up.name, warm_up.steps) == ("warm-up", warmup)


@pytest.mark.parametrize(
    ("classes", "pairs", "batch"), [(2, 350, 96), (10, 70, 96), (15, 357, 176), (20, 500, 256), (100, 100, 256)]
)
def test_few_classes_in_grey_ask_for_fewer_pairs_and_smaller_batches(classes: int, pairs: int, batch: int) -> None:
    assert default_pairs_per_class(classes, channels=1, download_bytes=1_280_000) == pairs
    assert warmup_batch(TransferSettings(), classes, channels=1) == batch


@pytest.mark.parametrize(("classes", "pairs"), [(2, 1000), (10, 1000), (20, 500), (99, 102), (100, 100)])
def test_in_colour_the_classes_share_all_pairs_that_a_download_may_hold(classes: int, pairs: int) -> None:
    assert default_pairs_per_class(classes, channels=3, download_bytes=1_280_000) == pairs
    assert default_pairs_per_class(classes, channels=3, download_bytes=1) == 1
    assert warmup_batch(TransferSettings(), classes, channels=3) == 256


def test_a_number_of_ones_own_goes_before_these() -> None:
    request = session_request(
        CloudConfig(pairs_per_class=7), classes=10, channels=1, image_size=16, download_bytes=50_000, seed=0
    )
    assert request.pairs_per_class == 7
    assert warmup_batch(TransferSettings(warmup_batch=9), 10, channels=1) == 9


@pytest.mark.parametrize(("num_shots", "steps"), [(20, 600), (200, 600), (900, 40 * 29), (2300, 40 * 72)])
def test_shots_are_passed_forty_times_and_in_600_steps_at_least(num_shots: int, steps: int) -> None:
    assert sum(span.steps for span in shots_spans(RunConfig(rounds=2), num_shots)) == steps


@pytest.mark.parametrize(
    ("with_few", "shots", "rate"),
    [(0.1, 20, 0.1), (0.1, 200, 0.1), (0.1, 900, 0.45), (0.1, 2300, 1.0), (1.0, 20, 1.0), (0.0, 9999, 0.0)],
)
def test_a_pretrained_extractor_learns_faster_from_more_shots(with_few: float, shots: int, rate: float) -> None:
    assert body_rate(with_few, shots) == pytest.approx(rate)


def test_pretrained_weights_need_no_warm_up_and_few_pairs_beside_the_shots() -> None:
    config = RunConfig("resnet18", weights="resnet18.pth", warm_start="edge")
    assert round_plan(config, 0, 20, 10).warm_up.steps == 0
    asked = replace(config, transfer=TRANSFERS.choose("image-vector", warmup_steps=7))
    assert round_plan(asked, 0, 20, 10).warm_up.steps == 7
    assert [joint_batch(each) for each in (config, replace(config, weights=None))] == [16, 64]
