"""What `ktl edge train --folds` does and prints: cross-validation over the labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ktl.formatting import in_counts, in_gain
from ktl.intervals import newcombe_interval, wilson_interval

from .console import errors, output, stop_on_signal

if TYPE_CHECKING:
    from ktl.edge.folds_file import CrossValidation


def validated(run: Path, folds: int, *, quiet: bool) -> CrossValidation:
    """Trains and tests each fold of a finished run's shots; says how each went unless `quiet`."""
    from ktl.edge.cross_validation import cross_validate

    def on_fold(fold: int, right: dict[str, list[bool]]) -> None:
        counts = ", ".join(f"{name} {sum(each)} of {len(each)} right" for name, each in right.items())
        if not quiet:
            errors.print(f"fold {fold + 1}/{folds}: {counts}")

    with stop_on_signal() as stop:
        return cross_validate(run, folds, on_fold=on_fold, should_stop=stop.is_set)


def fold_summary(validation: CrossValidation) -> dict[str, Any]:
    """For --json."""
    counts = {name: (sum(right), len(right)) for name, right in validation.right.items()}
    arms = {
        name: {"right": right, "tested": tested, "interval": wilson_interval(right, tested)}
        for name, (right, tested) in counts.items()
    }
    return {"number": validation.folds, **arms}


def show_folds(validation: CrossValidation) -> None:
    """Counts over all folds, and the gain."""
    trainings = list(validation.right.values())
    output.print(f"{validation.folds} folds over the {len(trainings[0])} labelled images:")
    for name, right in validation.right.items():
        output.print(f"  {name}: {in_counts(sum(right), len(right))}")
    if len(trainings) == 2:
        gain = (sum(trainings[0]) - sum(trainings[1])) / len(trainings[0])
        output.print(f"  gain: {in_gain(gain, newcombe_interval(*trainings))}")
