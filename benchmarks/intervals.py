"""Confidence intervals of a mean over seeds."""

from __future__ import annotations

import statistics

# two-sided 95% points of Student's t by degrees of freedom
STUDENT_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26, 14: 2.14, 19: 2.09}


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of its 95% confidence interval (nan for one value)."""
    if len(values) < 2:
        return values[0], float("nan")
    t = STUDENT_T[max(n for n in STUDENT_T if n <= len(values) - 1)]
    return statistics.mean(values), t * statistics.stdev(values) / len(values) ** 0.5
