"""What a report says of a run, from the run's folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ktl.edge.folds_file import CrossValidation, read_folds
from ktl.edge.record import Array, Record, read_record
from ktl.files import Row, read_rows
from ktl.intervals import newcombe_interval, wilson_interval
from ktl.run_folder import METRICS, settings_table

BINS = 10  # of a reliability diagram


@dataclass(frozen=True)
class Arm:
    """One training: with the cloud, or without. rows: of metrics.jsonl, one per round."""

    name: str
    record: Record
    rows: list[Row]

    @property
    def right(self) -> Array:
        """Whether each test image was classified right, (n,) bool."""
        return np.array(self.record.right)

    @property
    def accuracy(self) -> float:
        """Share of test images classified right, 0..1."""
        return float(self.right.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Of the accuracy, 95%."""
        return self.interval_of(self.accuracy)

    def interval_of(self, accuracy: float) -> tuple[float, float]:
        """Of an accuracy on this arm's test images, 95%."""
        return wilson_interval(round(accuracy * len(self.right)), len(self.right))

    @property
    def class_accuracy(self) -> list[float | None]:
        """The same for each class; None for one without test images."""
        labels, classes = self.record.arrays["labels"], range(len(self.record.class_names))
        return [float(self.right[labels == c].mean()) if (labels == c).any() else None for c in classes]

    def total(self, column: str) -> float:
        """A column of the metrics, summed over rounds."""
        return float(sum(row[column] for row in self.rows))


@dataclass(frozen=True)
class RunSummary:
    """A run; `settings` as `settings_table` gives them; `local` is the same training without the cloud, if any."""

    name: str
    settings: dict[str, Any]
    main: Arm
    local: Arm | None
    folds: CrossValidation | None = None

    @property
    def arms(self) -> list[Arm]:
        """Both trainings, or the one there is."""
        return [self.main] if self.local is None else [self.main, self.local]

    @property
    def session(self) -> str | None:
        """The session of several edges in which it learnt, by name."""
        name: str | None = self.settings["cloud"].get("session") if self.settings.get("transfer") else None
        return name

    @property
    def noise(self) -> dict[str, float] | None:
        """`epsilon` and `delta` of what it added to its statistics in that session, if it did."""
        noise: dict[str, float] = self.settings.get("noise") or {}
        return noise if self.session and noise.get("epsilon") else None

    @property
    def class_names(self) -> list[str]:
        """In the order of the labels."""
        return self.main.record.class_names

    @property
    def gain(self) -> float:
        """What the cloud's help added to the accuracy, -1..1."""
        assert self.local is not None
        return self.main.accuracy - self.local.accuracy

    @property
    def gain_interval(self) -> tuple[float, float]:
        """Of the gain, 95%, paired by test image."""
        assert self.local is not None
        return newcombe_interval(self.main.record.right, self.local.record.right)

    @property
    def confusion(self) -> Array:
        """(C, C) int64: rows are true classes, columns predicted ones."""
        arrays, classes = self.main.record.arrays, len(self.class_names)
        cells: Array = np.bincount(arrays["labels"] * classes + arrays["predicted"], minlength=classes**2)
        return cells.reshape(classes, classes)


@dataclass(frozen=True)
class Reliability:
    """For each bin of confidence that holds images: mean confidence, accuracy, images; and the expected error."""

    confidence: list[float]
    accuracy: list[float]
    images: list[int]
    error: float


def summarise(run: Path) -> RunSummary:
    """Reads a finished run. Raises CheckpointError for one that has not ended or is damaged."""
    settings = settings_table(run)
    if settings.get("transfer") is None:  # no cloud helped
        return RunSummary(run.name, settings, _arm("local only", run), None, read_folds(run))
    local = run / "local-only"
    alone = _arm("local only", local) if (local / "record.json").is_file() else None
    return RunSummary(run.resolve().name, settings, _arm("KTL", run), alone, read_folds(run))


def reliability(arm: Arm) -> Reliability:
    """How often the model is right when it is so sure, and the mean gap weighted by images (Guo et al., ICML 2017)."""
    sure, right = arm.record.arrays["confidence"], arm.right
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    filled = [bins == b for b in range(BINS) if (bins == b).any()]
    confidence, accuracy = [float(sure[b].mean()) for b in filled], [float(right[b].mean()) for b in filled]
    images = [int(b.sum()) for b in filled]
    gaps = (n * abs(c - a) for n, c, a in zip(images, confidence, accuracy, strict=True))
    return Reliability(confidence, accuracy, images, sum(gaps) / len(right))


def _arm(name: str, run: Path) -> Arm:
    return Arm(name, read_record(run), read_rows(run / METRICS))
