"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table with a heading; cells are shown as `str` shows them."""
    return "\n".join([_line(columns), "|" + "---|" * len(columns), *map(_line, lines)])


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
