"""What a training ends with on the screen: accuracy, seconds and bytes, beside those of local-only training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ktl.formatting import in_bytes, in_counts, in_interval, in_percent, in_points
from ktl.intervals import FEW_TESTED, wilson_interval

from .console import output

if TYPE_CHECKING:
    from ktl.edge.compare import Comparison
    from ktl.edge.run import RunResult
    from ktl.learning.evaluation import Evaluation


def summary(result: RunResult, comparison: Comparison | None) -> dict[str, Any]:
    """For --json."""
    record: dict[str, Any] = {"run": str(result.out)} | _totals(result)
    if comparison is not None:
        record |= {"local_only": _totals(comparison.local), "gain": comparison.gain}
        record["gain_interval"] = comparison.gain_interval
    return record


def table(result: RunResult, comparison: Comparison | None) -> Table:
    """For people."""
    comparison_table = Table(box=None, pad_edge=False)
    for heading in ("", "right", "test accuracy", "95% interval", "seconds", "up", "down"):
        comparison_table.add_column(heading, justify="left" if heading == "" else "right")
    named = [("local only", result)] if comparison is None else [("KTL", result), ("local only", comparison.local)]
    for name, each in named:
        totals = _totals(each)
        comparison_table.add_row(
            name,
            f"{totals['right']} of {totals['tested']}",
            in_percent(totals["test_accuracy"]),
            in_interval(totals["interval"]),
            f"{totals['seconds']:.0f}",
            in_bytes(totals["bytes_up"]),
            in_bytes(totals["bytes_down"]),
        )
    if comparison is not None:
        interval = in_interval(comparison.gain_interval, "+")
        comparison_table.add_row("gain", "", in_points(comparison.gain), interval)
    return comparison_table


def show_evaluation(evaluation: Evaluation, names: Sequence[str]) -> None:
    """Counts, in all and by class, and what each class is most often taken for."""
    output.print(f"test accuracy: {in_counts(evaluation.right, evaluation.tested)}")
    classes = Table(box=None, pad_edge=False)
    for heading in ("class", "right", "accuracy", "most often taken for"):
        classes.add_column(heading, justify="right" if heading in ("right", "accuracy") else "left")
    for index, (name, accuracy) in enumerate(zip(names, evaluation.class_accuracy, strict=True)):
        wrong = evaluation.confusion[index].clone()
        tested, right = int(wrong.sum()), int(wrong[index])
        wrong[index] = 0
        share = "" if accuracy is None else in_percent(accuracy)
        taken = f"{names[int(wrong.argmax())]} ({int(wrong.max())} of {tested})"
        classes.add_row(name, f"{right} of {tested}", share, taken if wrong.max() > 0 else "")
    output.print(classes)


def tells_little(tested: int, run: Path, shots: int | str) -> str | None:
    """What to say of a test on few images, and what tells more."""
    if tested >= FEW_TESTED:
        return None
    line = f"{tested} test image{'s tell' if tested > 1 else ' tells'} little"
    if shots == 1:
        return f"{line}: label more"
    return f"{line}: ktl edge train --resume {run} --folds 5 tests on the labelled images too"


def _totals(result: RunResult) -> dict[str, Any]:
    rows, evaluation = result.rows, result.evaluation
    return {
        "right": evaluation.right,
        "tested": evaluation.tested,
        "test_accuracy": evaluation.accuracy,
        "interval": wilson_interval(evaluation.right, evaluation.tested),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "bytes_up": sum(row["bytes_up"] for row in rows),
        "bytes_down": sum(row["bytes_down"] for row in rows),
    }
