"""How long a training will still take."""

from __future__ import annotations

import pytest

from ktl.data.fewshot import FewShotTask
from ktl.edge.compare import without_cloud
from ktl.edge.settings import RunConfig
from ktl.learning.outlook import Outlook, Stretch, stretches
from ktl.learning.schedule import Span
from ktl.settings import with_values


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def go(outlook: Outlook, clock: Clock, training: str, span: Span, steps: range, seconds: float) -> None:
    for step in steps:
        clock.now += seconds
        outlook.took_step(training, span, step)


def test_what_a_training_consists_of(small_task: FewShotTask) -> None:
    config = with_values(RunConfig(rounds=2), {"training.steps": 50, "transfer.warmup_steps": 30})
    planned = stretches(config, small_task)
    assert planned == [Stretch("warm-up", 30, 256), Stretch("shots", 50, 12 + 64)]
    assert stretches(without_cloud(config), small_task) == [Stretch("shots", 50, 12)]


def test_stretches_to_come_are_judged_by_their_images_until_their_own_pace_is_known() -> None:
    clock = Clock()
    outlook = Outlook(clock)
    outlook.plan("KTL", [Stretch("warm-up", 40, 200), Stretch("shots", 100, 100)])
    outlook.plan("local only", [Stretch("shots", 100, 20)])
    warm_up, shots = Span("warm-up", 40, 0, 40), Span("shots", 50, 0, 100)
    go(outlook, clock, "KTL", warm_up, range(1, 11), 2.0)
    assert outlook.seconds_left is None
    go(outlook, clock, "KTL", warm_up, range(11, 41), 2.0)
    assert outlook.seconds_left == pytest.approx(100 * 1.0 + 100 * 0.2)
    clock.now += 500.0  # an exchange
    go(outlook, clock, "KTL", shots, range(1, 31), 3.0)
    per_image = (39 * 2.0 + 29 * 3.0) / (39 * 200 + 29 * 100)
    assert outlook.seconds_left == pytest.approx(70 * 3.0 + 100 * 20 * per_image)
    outlook.plan("KTL", [Stretch("shots", 40, 100)])
    assert outlook.seconds_left == pytest.approx(10 * 3.0 + 100 * 20 * per_image)


def test_rounds_and_what_a_resumed_run_has_done_count() -> None:
    clock = Clock()
    outlook = Outlook(clock)
    outlook.plan("local only", [Stretch("shots", 100, 20)])
    go(outlook, clock, "local only", Span("shots", 50, 50, 100), range(11, 31), 1.0)
    assert outlook.seconds_left == pytest.approx(20.0)
