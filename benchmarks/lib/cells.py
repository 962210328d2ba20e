"""Measurements that can be stopped and gone on with: each is a cell, and its result one JSON line of a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.lib.provenance import provenance

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One measurement: what tells its row from others, and the call that gives the rest of the row."""

    key: Row
    measure: Callable[..., Row]
    arguments: tuple[Any, ...]


def read(out: Path) -> list[Row]:
    """The rows measured so far."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def fill(out: Path, cells: Sequence[Cell], part: tuple[int, int] = (0, 1)) -> None:
    """Measures the cells of `part` (i of n) that `out` lacks, in order, each in a process of its own.

    A row is the cell's key, what was measured, and its provenance.
    """
    for cell in cells[part[0] :: part[1]]:
        if any(cell.key.items() <= row.items() for row in read(out)):
            print(f"{cell.key} is in {out} already", flush=True)
            continue
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            row = cell.key | process.submit(cell.measure, *cell.arguments).result() | provenance()
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
