"""How figures are written for people."""

from __future__ import annotations


def in_bytes(count: float) -> str:
    """A byte count as people read it: 532 B, 12.3 kB, 1.43 MB."""
    if count < 1_000:
        return f"{count:.0f} B"
    return f"{count / 1e3:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.2f} MB"


def in_shots(shots: int | str) -> str:
    """How many images were labelled: 5 labelled images per class; all labelled images; up to 20 labelled images ..."""
    per_class = "" if shots == "all" else " per class"
    return f"{shots} labelled image{'' if shots == 1 else 's'}{per_class}"


def in_percent(share: float) -> str:
    """0.518 -> 51.8%."""
    return f"{100 * share:.1f}%"
