"""How far a measured accuracy can be trusted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

# two-sided 95% points of Student's t by degrees of freedom
STUDENT_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26, 14: 2.14, 19: 2.09}
FEW_TESTED = 30  # images: with fewer, an interval is 30 points wide and more
Z95 = 1.959964  # of the standard normal distribution


def wilson_interval(right: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Bounds of a share of `right` among `total`, 95% by default: Wilson's score interval (JASA 1927), within 0..1."""
    share = right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(0.0, centre - half), min(1.0, centre + half)


def newcombe_interval(first: Sequence[bool], second: Sequence[bool]) -> tuple[float, float]:
    """Bounds, 95%, of how much larger the share of right answers is in `first` than in `second`, within -1..1.

    Both (n,): whether two models were right on the same n >= 1 images. Newcombe, "Improved confidence intervals for the
    difference between binomial proportions based on paired data" (Statistics in Medicine 1998), method 10.
    """
    n = len(first)
    both = sum(bool(a) and bool(b) for a, b in zip(first, second, strict=True))
    right = [sum(map(bool, first)), sum(map(bool, second))]
    shares = [count / n for count in right]
    bounds = [wilson_interval(count, n) for count in right]
    below = [share - low for share, (low, _) in zip(shares, bounds, strict=True)]
    above = [high - share for share, (_, high) in zip(shares, bounds, strict=True)]
    phi = _phi(both, right[0], right[1], n)

    def half(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))

    difference = shares[0] - shares[1]
    return difference - half(below[0], above[1]), difference + half(above[0], below[1])


def _phi(both: int, first: int, second: int, n: int) -> float:
    """Correlation of two yes-or-no answers to n questions, with Newcombe's continuity correction where it is above 0.

    first and second: how often each is yes; both: how often both are.
    """
    product = first * (n - first) * second * (n - second)
    if product == 0:
        return 0.0
    excess = both * (n - first - second + both) - (first - both) * (second - both)
    corrected = max(excess - n / 2, 0.0) if excess > 0 else excess
    return corrected / math.sqrt(product)


def mean_interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of its 95% confidence interval by Student's t (nan for one value)."""
    if len(values) < 2:
        return values[0], float("nan")
    t = STUDENT_T[max(n for n in STUDENT_T if n <= len(values) - 1)]
    return statistics.mean(values), t * statistics.stdev(values) / len(values) ** 0.5
