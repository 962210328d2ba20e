"""How figures are written for people."""

from __future__ import annotations

from ktl.intervals import wilson_interval


def in_bytes(count: float) -> str:
    """A byte count as people read it: 532 B, 12.3 kB, 1.43 MB."""
    if count < 1_000:
        return f"{count:.0f} B"
    return f"{count / 1e3:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.2f} MB"


def in_shots(shots: int | str) -> str:
    """How many images were labelled: 5 labelled images per class; all labelled images; up to 20 labelled images ..."""
    per_class = "" if shots == "all" else " per class"
    return f"{shots} labelled image{'' if shots == 1 else 's'}{per_class}"


def in_counts(right: int, total: int) -> str:
    """37 of 40 right, 92.5% (95% interval 80.1 to 97.4)."""
    interval = in_interval(wilson_interval(right, total))
    return f"{right} of {total} right, {in_percent(right / total)} (95% interval {interval})"


def in_interval(bounds: tuple[float, float], sign: str = "") -> str:
    """(0.801, 0.974) -> 80.1 to 97.4; with the sign "+", also +80.1 to +97.4."""
    low, high = (f"{100 * bound:{sign}.1f}" for bound in bounds)
    return f"{low} to {high}"


def in_gain(gain: float, bounds: tuple[float, float]) -> str:
    """+4.7 points (95% interval -1.2 to +10.3)."""
    return f"{in_points(gain)} (95% interval {in_interval(bounds, '+')})"


def in_points(gain: float) -> str:
    """0.047 -> +4.7 points."""
    return f"{100 * gain:+.1f} points"


def in_duration(seconds: float) -> str:
    """90 seconds, 12 minutes, 2.5 hours."""
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def in_percent(share: float) -> str:
    """0.518 -> 51.8%."""
    return f"{100 * share:.1f}%"
