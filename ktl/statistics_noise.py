"""Class statistics with Gaussian noise, so that they tell little of any one image: differential privacy.

Two sets of labelled images are neighbours where one has one image more. It is a unit vector r of a known class, so it
moves the sums by r, one count by 1 and the moment by r r^T, each of length 1. The three share the budget as `SHARES`
says: scaled by the roots of their shares they move by 1 together.

The classes are taken to be public: which ones an edge has is sent as it is. So every class sent has an image, and a
noisy count below 1 counts as 1. Vectors are taken as given: that the network which makes them was trained on the same
images is not covered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from secrets import randbits

import torch
from torch import Tensor

from ktl.class_statistics import ClassStatistics
from ktl.errors import UsageError
from ktl.noise_settings import DELTA

SHARES = {"sums": 0.7, "counts": 0.1, "moment": 0.2}  # of the squared length by which one image moves them all


def noised(
    statistics: ClassStatistics, epsilon: float, rng: torch.Generator, *, delta: float = DELTA, releases: int = 1
) -> ClassStatistics:
    """`statistics` with noise, made valid again; the same classes.

    Of the same images statistics can go out `releases` times: all together have `epsilon` > 0 and 0 < `delta` < 1.
    Who knows the seed of `rng` can take the noise off: against a cloud, use `secret_rng`. Raises UsageError for another
    epsilon or delta.
    """
    return with_noise(statistics, noise_deviation(epsilon, delta, releases), rng)


def with_noise(statistics: ClassStatistics, deviation: float, rng: torch.Generator) -> ClassStatistics:
    """`statistics` with noise of `deviation` on numbers that one image moves by 1 together, made valid again."""
    sums, counts, moment = noise(len(statistics.classes), statistics.sums.shape[1], deviation, rng)
    return nearest_valid(
        replace(statistics, sums=statistics.sums + sums, moment=statistics.moment + moment), statistics.counts + counts
    )


def noise(classes: int, dimension: int, deviation: float, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """What is added to sums (classes, dimension), counts (classes,) and the moment (dimension, dimension), float64.

    `deviation` is that of numbers which one image moves by 1 together; it is divided by the root of each one's share.
    Added up over n edges that each draw with `deviation` / sqrt(n), it is as one draw with `deviation`.
    """
    of_sums, of_counts, of_moment = (deviation / math.sqrt(share) for share in SHARES.values())
    counts = of_counts * _normal((classes,), rng)
    sums = of_sums * _normal((classes, dimension), rng)
    square = _normal((dimension, dimension), rng)  # its symmetric part is spherical among symmetric matrices
    return sums, counts, of_moment * (square + square.T) / 2


def nearest_valid(noisy: ClassStatistics, counts: Tensor) -> ClassStatistics:
    """What edges can use in place of `noisy` statistics with noisy `counts` (m,) of any dtype; the same classes.

    Counts are rounded, at least 1. Means are at most 1 long. The moment is the nearest to the noisy one that has no
    negative eigenvalue and the counts' sum as its trace. None of this looks at the images again, so it costs nothing.
    """
    counts = counts.double().round().clamp_min(1.0)
    sums = noisy.sums.double()
    sums = sums * (counts / sums.norm(dim=1).clamp_min(1e-30)).clamp_max(1.0)[:, None]
    moment = _nearest_moment(noisy.moment.double(), float(counts.sum()))
    return replace(noisy, sums=sums.float(), counts=counts.long(), moment=moment.float())


def secret_rng() -> torch.Generator:
    """Seeded by the operating system's randomness: a cloud knows a run's seed, and what is drawn from it."""
    return torch.Generator().manual_seed(randbits(63))


def noise_deviation(epsilon: float, delta: float = DELTA, releases: int = 1) -> float:
    """The least standard deviation of noise on numbers that one image moves by a length of 1, in each of the releases.

    k releases leak together what one with 1/sqrt(k) of their deviation does: their mean says all that they say.

    The analytic Gaussian mechanism of Balle and Wang, "Improving the Gaussian Mechanism for Differential Privacy"
    (ICML 2018), theorem 8, by bisection. Raises UsageError unless 0 < epsilon < infinity and 0 < delta < 1.
    """
    if not 0 < epsilon < math.inf:
        raise UsageError(f"epsilon is {epsilon:g}: give a number above 0, such as 8 for little noise or 1 for much")
    if not 0 < delta < 1:
        raise UsageError(f"delta is {delta:g}: give a number between 0 and 1, such as {DELTA:g}")
    low, high = 1e-9, 1 / delta  # enough for any epsilon
    while high / low > 1 + 1e-12:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _leak(middle, epsilon) <= delta else (middle, high)
    return high * math.sqrt(releases)


def _leak(deviation: float, epsilon: float) -> float:
    """The delta that noise of this deviation has at `epsilon`."""
    ends = torch.tensor([1, -1], dtype=torch.float64) / (2 * deviation) - epsilon * deviation
    more, less = torch.special.log_ndtr(ends).tolist()
    return math.exp(more) - math.exp(epsilon + less)


def _nearest_moment(noisy: Tensor, trace: float) -> Tensor:
    """The nearest (D, D) float64 matrix without a negative eigenvalue and with this trace.

    All eigenvalues go down, or up, by one number, and those that would be negative become 0: so the trace is met, and
    where noise makes up most of a matrix, most of the noise goes.
    """
    values, directions = torch.linalg.eigh(noisy)
    values = values.flip(0)
    shifts = (values.cumsum(0) - trace) / torch.arange(1, len(values) + 1)
    kept = int((values > shifts).sum())
    values = (values - shifts[kept - 1]).clamp_min(0.0).flip(0)
    moment: Tensor = (directions * values) @ directions.T
    return (moment + moment.T) / 2


def _normal(shape: Sequence[int], rng: torch.Generator) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=rng)
