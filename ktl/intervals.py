"""How far a measured accuracy can be trusted."""

from __future__ import annotations

import math
import statistics

# two-sided 95% points of Student's t by degrees of freedom
STUDENT_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26, 14: 2.14, 19: 2.09}
Z95 = 1.959964  # of the standard normal distribution


def wilson_interval(right: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Bounds of a share of `right` among `total`, 95% by default: Wilson's score interval (JASA 1927), within 0..1."""
    share = right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of its 95% confidence interval by Student's t (nan for one value)."""
    if len(values) < 2:
        return values[0], float("nan")
    t = STUDENT_T[max(n for n in STUDENT_T if n <= len(values) - 1)]
    return statistics.mean(values), t * statistics.stdev(values) / len(values) ** 0.5
