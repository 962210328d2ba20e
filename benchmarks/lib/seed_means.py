"""Means over seeds, as tables show them."""

from __future__ import annotations

from ktl.intervals import mean_interval


def seed_mean(values: list[float], sign: str = "") -> str:
    """Mean and half-width of its 95% interval, the mean alone of one value; `sign` "+" for a difference."""
    mean, width = mean_interval(values)
    return f"{mean:{sign}.2f}" + (f" ± {width:.2f}" if len(values) > 1 else "")
