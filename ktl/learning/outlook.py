"""How long trainings will still take, told from the pace of their steps so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ktl.data.fewshot import FewShotTask
from ktl.learning.schedule import Span, joint_batch, round_plan, warmup_batch
from ktl.learning.settings import EdgeConfig
from ktl.registry import chosen

SETTLED = 10  # steps after which a stretch's own pace is known


@dataclass(frozen=True)
class Stretch:
    """All steps of one kind of a training, over its rounds; images: that each step takes in, about."""

    name: str  # of their spans
    steps: int
    images: int


def stretches(config: EdgeConfig, task: FewShotTask) -> list[Stretch]:
    """What a training of `config` consists of, in order."""
    shots, classes = len(task.shot_labels), len(task.class_names)
    plan = round_plan(config, 0, shots, classes)
    settings = None if config.transfer is None else chosen(config.transfer).settings
    found = [Stretch("shots", plan.shots.total, min(config.training.batch, shots) + joint_batch(config))]
    if settings is not None and plan.warm_up.steps > 0:
        images = warmup_batch(settings, classes, task.shot_images.shape[1])
        found.insert(0, Stretch("warm-up", plan.warm_up.steps, images))
    return found


@dataclass
class _Progress:
    """Of one stretch: steps done in all; and those that were timed, with the seconds that they took."""

    stretch: Stretch
    done: int = 0
    timed: int = 0
    seconds: float = 0.0


class Outlook:
    """Trainings by name, one after the other. A stretch that has not begun is judged by the images of its steps."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stretches: dict[tuple[str, str], _Progress] = {}
        self._last: tuple[tuple[str, str], float] | None = None

    def plan(self, training: str, planned: Iterable[Stretch]) -> None:
        """What a training will do; again where that changes."""
        for stretch in planned:
            key = (training, stretch.name)
            self._stretches.setdefault(key, _Progress(stretch)).stretch = stretch

    def took_step(self, training: str, span: Span, step: int) -> None:
        """After each step of a span. What lies between two spans, such as an evaluation, is not timed."""
        key, now = (training, span.name), self._clock()
        progress = self._stretches.get(key)
        if progress is None:
            return
        if self._last is not None and self._last[0] == key and step > 1:
            progress.timed += 1
            progress.seconds += now - self._last[1]
        progress.done = span.first + step
        self._last = key, now

    @property
    def seconds_left(self) -> float | None:
        """Of all trainings that are planned; None until the pace of one is known."""
        timed = [each for each in self._stretches.values() if each.timed >= SETTLED]
        if not timed:
            return None
        per_image = sum(each.seconds for each in timed) / sum(each.timed * each.stretch.images for each in timed)
        left = 0.0
        for each in self._stretches.values():
            own = each.seconds / each.timed if each in timed else per_image * each.stretch.images
            left += max(each.stretch.steps - each.done, 0) * own
        return left
