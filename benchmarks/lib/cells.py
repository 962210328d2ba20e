"""Measurements that can be stopped and gone on with: each is a cell, one JSON line of the file `--out`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

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
    """Measures the cells of `part` (i of n) that `out` lacks, in order, each in a process of its own."""
    for cell in cells[part[0] :: part[1]]:
        if any(cell.key.items() <= row.items() for row in read(out)):
            continue
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            row = cell.key | process.submit(cell.measure, *cell.arguments).result()
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


def run_options(parser: argparse.ArgumentParser) -> None:
    """--out, --data-root and --part of a command that fills cells."""
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--part", type=_part, default=(0, 1), help="0/2 and 1/2 are two processes' halves of the work")


def command_line(
    about: str | None,
    options: Callable[[argparse.ArgumentParser], None],
    cells: Callable[[argparse.Namespace], Sequence[Cell]],
    table: Callable[[list[Row]], str],
) -> None:
    """A benchmark's commands: `run` fills the cells that its `options` ask for, `table` prints what was measured."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    run_options(runs)
    options(runs)
    commands.add_parser("table").add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "table":
        print(table(read(args.out)))
    else:
        fill(args.out, cells(args), args.part)


def _part(text: str) -> tuple[int, int]:
    index, parts = text.split("/")
    return int(index), int(parts)
