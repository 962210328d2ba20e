"""How far a measured accuracy can be trusted."""

from __future__ import annotations

import math

Z95 = 1.959964  # of the standard normal distribution


def wilson_interval(right: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Bounds of a share of `right` among `total`, 95% by default: Wilson's score interval (JASA 1927), within 0..1."""
    share = right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(0.0, centre - half), min(1.0, centre + half)
