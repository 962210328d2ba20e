"""Means and differences over seeds, as tables show them."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.lib.cells import Row
from ktl.intervals import mean_interval


def seed_mean(values: Sequence[float], sign: str = "") -> str:
    """Mean and half-width of its 95% interval; of one value the value, of none nothing; `sign` "+" for a difference."""
    if not values:
        return ""
    mean, width = mean_interval(list(values))
    return f"{mean:{sign}.2f}" + (f" ± {width:.2f}" if len(values) > 1 else "")


def seed_gain(rows: Sequence[Row], base: Sequence[Row], name: str, base_name: str | None = None) -> str:
    """The mean of what each of `rows` has of `name` more than the row of `base` with its seed has of `base_name`.

    `base_name` is `name` if None. Seeds that `base` lacks are left out; empty if no seed is in both.
    """
    return seed_mean([value - alone for value, alone in _paired(rows, base, name, base_name)], sign="+")


def relative_gain(rows: Sequence[Row], base: Sequence[Row], name: str) -> str:
    """The same as a share of what the rows of `base` have."""
    pairs = _paired(rows, base, name)
    return f"{sum(value for value, _ in pairs) / sum(alone for _, alone in pairs) - 1:+.0%}" if pairs else ""


def _paired(
    rows: Sequence[Row], base: Sequence[Row], name: str, base_name: str | None = None
) -> list[tuple[float, float]]:
    of_base = {row["seed"]: row[base_name or name] for row in base}
    return [(row[name], of_base[row["seed"]]) for row in rows if row["seed"] in of_base]


def each_seed(values: Sequence[float]) -> str:
    """The values themselves."""
    return ", ".join(f"{value:.2f}" for value in values)
