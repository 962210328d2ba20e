"""What a training ends with on the screen: accuracy, seconds and bytes, beside those of local-only training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from ktl.formatting import in_bytes, in_percent

if TYPE_CHECKING:
    from ktl.edge.compare import Comparison
    from ktl.edge.run import RunResult


def summary(result: RunResult, comparison: Comparison | None) -> dict[str, Any]:
    """For --json."""
    record: dict[str, Any] = {"run": str(result.out)} | _totals(result)
    if comparison is not None:
        record |= {"local_only": _totals(comparison.local), "gain": comparison.gain}
    return record


def table(result: RunResult, comparison: Comparison | None) -> Table:
    """For people."""
    comparison_table = Table(box=None, pad_edge=False)
    for heading in ("", "test accuracy", "seconds", "up", "down"):
        comparison_table.add_column(heading, justify="left" if heading == "" else "right")
    named = [("local only", result)] if comparison is None else [("KTL", result), ("local only", comparison.local)]
    for name, each in named:
        totals = _totals(each)
        up, down = in_bytes(totals["bytes_up"]), in_bytes(totals["bytes_down"])
        comparison_table.add_row(name, in_percent(totals["test_accuracy"]), f"{totals['seconds']:.0f}", up, down)
    if comparison is not None:
        comparison_table.add_row("gain", f"{100 * comparison.gain:+.1f} points")
    return comparison_table


def _totals(result: RunResult) -> dict[str, Any]:
    rows = result.rows
    return {
        "test_accuracy": result.evaluation.accuracy,
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "bytes_up": sum(row["bytes_up"] for row in rows),
        "bytes_down": sum(row["bytes_down"] for row in rows),
    }
