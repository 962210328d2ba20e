"""When an edge does what: the steps of each round and the learning rate of each step, as functions of the config."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from ktl.errors import UsageError
from ktl.learning.settings import EdgeConfig
from ktl.objectives.settings import TransferSettings
from ktl.registry import chosen
from ktl.wire import MAX_PAIRS_PER_CLASS

WARM_SHARE = 0.25  # of a one-cycle that rises
SMALLEST_PAIR = 128  # bytes: one of 28 pixels in grey takes twice as many
FEW_PAIRS = 700
FEW_SHOTS = 200


@dataclass(frozen=True)
class Span:
    """A stretch of training steps; `first` and `total` place its steps on its learning-rate schedule."""

    name: str  # what streams of random numbers, checkpoints and progress call it
    steps: int
    first: int
    total: int


@dataclass(frozen=True)
class RoundPlan:
    """What an edge does in one round: steps on the pairs alone (perhaps none), then on the shots beside the pairs."""

    warm_up: Span
    shots: Span

    @property
    def spans(self) -> list[Span]:
        """Those that have steps, in order."""
        return [span for span in (self.warm_up, self.shots) if span.steps > 0]


def round_plan(
    config: EdgeConfig, round_index: int, num_shots: int, num_classes: int, warmup_round: int = 0
) -> RoundPlan:
    """The plan of round 0, 1, ... of an edge with `num_shots` labelled images in all.

    `warmup_round` is the one in which the first pairs come: 0, unless an edge joins a federation later. Raises
    UsageError where there are fewer steps than rounds.
    """
    training = config.training
    epochs = training.epochs or config.rounds
    total = training.steps or max(training.min_steps, epochs * math.ceil(num_shots / training.batch))
    if total < config.rounds:
        raise UsageError(f"{total} steps over {config.rounds} rounds: give at least one step per round")
    bounds = [total * r // config.rounds for r in range(config.rounds + 1)]
    steps = [end - start for start, end in pairwise(bounds)]
    shots = Span("shots", steps[round_index], sum(steps[:round_index]), sum(steps))
    warmup = 0
    if config.transfer is not None and round_index == warmup_round:
        warmup = _warmup_steps(config, num_classes)
    return RoundPlan(Span("warm-up", warmup, 0, warmup), shots)


def rate_factor(schedule: str, progress: float) -> float:
    """The learning rate at `progress` in [0, 1), relative to its peak: half cosines up and down, or always 1."""
    if schedule == "constant":
        return 1.0
    if progress < WARM_SHARE:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / WARM_SHARE)) / 2
    return (1 + math.cos(math.pi * (progress - WARM_SHARE) / (1 - WARM_SHARE))) / 2


def default_pairs_per_class(num_classes: int, channels: int, download_bytes: int) -> int:
    """What a round asks for if nobody says: all that its download may hold, 700 in all of up to ten classes in grey."""
    most = download_bytes / SMALLEST_PAIR
    enough = min(FEW_PAIRS, most)
    wanted = enough + (most - enough) * _variety(num_classes, channels)
    return min(math.ceil(wanted / num_classes), MAX_PAIRS_PER_CLASS)


def warmup_batch(transfer: TransferSettings, num_classes: int, channels: int) -> int:
    """Pairs per step on the pairs alone: 256, 96 of up to ten classes in grey, unless the settings have a number."""
    return transfer.warmup_batch or 96 + round(160 * _variety(num_classes, channels))


def joint_batch(config: EdgeConfig) -> int:
    """Pairs beside each batch of shots: 64 unless the settings have a number, 16 for an extractor that begins warm and
    has learnt most of what they can teach (docs/results/warm-start.md); 0 without a cloud.
    """
    if config.transfer is None:
        return 0
    chosen_number: int | None = chosen(config.transfer).settings.joint_batch
    if chosen_number is None:
        return 16 if config.warm_start == "cloud" or config.pretrained else 64
    return chosen_number


def body_rate(with_few: float, num_shots: int) -> float:
    """Learning rate of the extractor on the shots, relative to the head's.

    `with_few` is that with few labelled images; beyond `FEW_SHOTS` in all it grows with them up to 1. A pre-trained
    extractor is spoilt by few and improved by many (docs/results/warm-start.md).
    """
    return min(1.0, with_few * max(1.0, num_shots / FEW_SHOTS))


def _warmup_steps(config: EdgeConfig, num_classes: int) -> int:
    """By the settings; else none from pre-trained weights, or 600, and 6 per class up to 1,200: more classes are finer
    to tell apart, and gained from a longer warm-up.
    """
    transfer: TransferSettings = chosen(config.transfer).settings
    if config.warm_start == "cloud":
        return transfer.warm_started_steps
    if transfer.warmup_steps is not None:
        return transfer.warmup_steps
    return 0 if config.pretrained else min(600 + 6 * num_classes, 1200)


def _variety(num_classes: int, channels: int) -> float:
    """0 for grey images of up to ten classes, 1 from twenty; always 1 in colour, where fewer pairs teach less.

    docs/results/one-edge.md has the measurements: ten classes in grey; five, ten, and twenty in colour.
    """
    return 1.0 if channels > 1 else min(max((num_classes - 10) / 10, 0.0), 1.0)
