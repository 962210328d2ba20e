"""One self-contained HTML file from one or several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ktl.edge.record import Array
from ktl.errors import UsageError
from ktl.intervals import FEW_TESTED
from ktl.report.federation import federation_folders, federation_page
from ktl.report.figures import Drawing, accuracy_drawing, latent_drawings, loss_drawing, reliability_drawing
from ktl.report.html import render_template, save_page, setting_texts
from ktl.report.summary import Reliability, RunSummary, reliability, summarise
from ktl.report.thumbnails import thumbnails

TABLED_CLASSES = 20  # with more, the confusion matrix is drawn instead of written


@dataclass(frozen=True)
class ClassRow:
    """A class in words and pictures."""

    name: str
    tested: int
    accuracy: float | None  # of a class without test images
    local_accuracy: float | None
    taken_for: str | None  # most often, where it was wrong
    taken: int
    shots: str | None  # data: address; of a class without shots none
    pictured_shots: int
    generated: str | None


@dataclass(frozen=True)
class Mistake:
    """A test image that was taken for another class."""

    picture: str  # data: address
    true: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class Section:
    """All that the page shows of one run."""

    run: RunSummary
    losses: Drawing
    reliability: Reliability
    reliability_drawing: Drawing
    latents: list[tuple[str, Drawing]]
    classes: list[ClassRow]
    confusion: list[list[int]]
    mistakes: list[Mistake]


def write_report(runs: Sequence[Path], out: Path) -> None:
    """Writes `out`: one HTML file that needs nothing else, of edges' runs or of federations.

    Raises UsageError for no run or unlike ones, CheckpointError for one that has not ended or is damaged.
    """
    if not runs:
        raise UsageError("give at least one run to report on")
    if federations := [folder for run in runs for folder in federation_folders(run)]:
        if any(not federation_folders(run) for run in runs):
            raise UsageError("a federation and an edge's run do not fit on one page: report on them one by one")
        save_page(federation_page(federations), out)
    else:
        save_page(render([summarise(run) for run in runs]), out)


def render(runs: Sequence[RunSummary]) -> str:
    """The page."""
    return render_template(
        "report.html.j2",
        runs=runs,
        sections=[_section(run) for run in runs],
        accuracy=accuracy_drawing(runs),
        settings=_settings(runs),
        tabled_classes=TABLED_CLASSES,
        few_tested=FEW_TESTED,
    )


def _section(run: RunSummary) -> Section:
    calibration = reliability(run.main)
    return Section(
        run=run,
        losses=loss_drawing(run),
        reliability=calibration,
        reliability_drawing=reliability_drawing(run, calibration),
        latents=latent_drawings(run),
        classes=_classes(run),
        confusion=run.confusion.tolist(),
        mistakes=_mistakes(run),
    )


def _classes(run: RunSummary) -> list[ClassRow]:
    arrays, confusion = run.main.record.arrays, run.confusion
    local = run.local.class_accuracy if run.local is not None else None
    rows = []
    for index, (name, accuracy) in enumerate(zip(run.class_names, run.main.class_accuracy, strict=True)):
        wrong = confusion[index] * (np.arange(len(confusion)) != index)
        shots = arrays["shots"][arrays["shots_labels"] == index]
        generated = _of_class(run, "generated", index)
        rows.append(
            ClassRow(
                name=name,
                tested=int(confusion[index].sum()),
                accuracy=accuracy,
                local_accuracy=None if local is None else local[index],
                taken_for=run.class_names[int(wrong.argmax())] if wrong.any() else None,
                taken=int(wrong.max()),
                shots=thumbnails(shots) if len(shots) else None,
                pictured_shots=len(shots),
                generated=None if generated is None else thumbnails(generated),
            )
        )
    return rows


def _of_class(run: RunSummary, name: str, index: int) -> Array | None:
    """The pictures `name` of a class, if it has any."""
    arrays = run.main.record.arrays
    if name not in arrays:
        return None
    pictures: Array = arrays[name][arrays[f"{name}_labels"] == index]
    return pictures if len(pictures) else None


def _mistakes(run: RunSummary) -> list[Mistake]:
    arrays, names = run.main.record.arrays, run.class_names
    return [
        Mistake(
            thumbnails(picture[None]),
            names[arrays["labels"][index]],
            names[arrays["predicted"][index]],
            float(arrays["confidence"][index]),
        )
        for picture, index in zip(arrays["mistakes"], arrays["mistakes_index"], strict=True)
    ]


def _settings(runs: Sequence[RunSummary]) -> list[tuple[str, list[str], bool]]:
    """Each setting of the configuration and the environment: its name, each run's value, and whether they differ."""
    columns = [
        setting_texts(run.settings) | {f"({name})": value for name, value in run.main.record.environment.items()}
        for run in runs
    ]
    rows = [
        (name, [column.get(name, "") for column in columns]) for name in dict.fromkeys(n for c in columns for n in c)
    ]
    return [(name, values, len(set(values)) > 1) for name, values in rows]
