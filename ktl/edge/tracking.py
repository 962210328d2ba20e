"""Where a run's numbers may go besides its own folder: TensorBoard, MLflow, W&B, anything with four methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ktl.edge.run import RunResult
from ktl.edge.settings import RunConfig
from ktl.errors import UsageError
from ktl.files import Row
from ktl.learning.schedule import Span
from ktl.loop.rounds import LOSS_EVERY, Observer
from ktl.settings import as_table, flat


class Tracker(Protocol):
    """What a tracker is told of one training."""

    def started(self, settings: dict[str, Any]) -> None:
        """Once, with the whole configuration, flat: {"training.optimizer": "adamw", ...}."""

    def loss(self, stage: str, step: int, value: float) -> None:
        """Every tenth step of a stage ("warm-up" or "shots"), counted on over rounds."""

    def round(self, row: Row) -> None:
        """After each round: its row of metrics.jsonl."""

    def finished(self, result: RunResult) -> None:
        """Once, after the model was exported; `result.out` is the run's folder."""


def tracked(observer: Observer, trackers: Sequence[Tracker], config: RunConfig) -> Observer:
    """An observer that also tells the trackers: of the settings now, of steps and rounds as they come.

    `finished` is the caller's to call.
    """
    for tracker in trackers:
        tracker.started(flat(as_table(config)))

    def on_step(round_index: int, span: Span, step: int, loss: float) -> None:
        observer.on_step(round_index, span, step, loss)
        if (span.first + step) % LOSS_EVERY == 0:
            for tracker in trackers:
                tracker.loss(span.name, span.first + step, loss)

    def on_round(row: Row) -> None:
        observer.on_round(row)
        for tracker in trackers:
            tracker.round(row)

    return replace(observer, on_step=on_step, on_round=on_round)


class TensorBoardTracker:
    """Event files in a folder. Raises UsageError where the tensorboard package is missing."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError("--tensorboard needs the tensorboard package: pip install tensorboard") from error
        self._writer: Any = SummaryWriter(str(folder))

    def started(self, settings: dict[str, Any]) -> None:
        """The settings as a table in the text tab."""
        rows = "".join(f"| {name} | {value} |\n" for name, value in settings.items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}")

    def loss(self, stage: str, step: int, value: float) -> None:
        """A curve per stage."""
        self._writer.add_scalar(f"loss/{stage}", value, step)

    def round(self, row: Row) -> None:
        """A curve each for accuracy, losses, seconds and bytes, over rounds."""
        for name, value in row.items():
            if name != "round" and isinstance(value, int | float):
                self._writer.add_scalar(f"round/{name}", value, row["round"])

    def finished(self, result: RunResult) -> None:
        """Flushes."""
        self._writer.close()
