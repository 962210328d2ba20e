"""Markdown tables, read back."""

from __future__ import annotations


def cells(table: str) -> list[list[str]]:
    """The rows of a markdown table, without its two heading lines."""
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
