"""Measurements that can be stopped and gone on with: each is a cell, and its result one JSON line of a file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
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


def fill(out: Path, cells: Sequence[Cell], part: tuple[int, int] = (0, 1), engine: str = "process") -> None:
    """Measures the cells of `part` (i of n) that `out` lacks, each in a process of its own.

    A row is the cell's key, what was measured, and its provenance. Engine `process` measures one after the other, `ray`
    as many at once as there are cores for; its rows come as they are done.
    """
    for row in ENGINES[engine](_missing(out, cells[part[0] :: part[1]])):
        keep(out, row)
        print(row, flush=True)


def keep(out: Path, row: Row) -> None:
    """Adds a row to the file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(json.dumps(row) + "\n")


def _missing(out: Path, cells: Iterable[Cell]) -> Iterator[Cell]:
    for cell in cells:
        if any(cell.key.items() <= row.items() for row in read(out)):
            print(f"{cell.key} is in {out} already", flush=True)
        else:
            yield cell


def _row(cell: Cell) -> Row:
    return cell.key | cell.measure(*cell.arguments) | provenance()


def _one_by_one(cells: Iterable[Cell]) -> Iterator[Row]:
    for cell in cells:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            yield process.submit(_row, cell).result()


def _on_ray(cells: Iterable[Cell]) -> Iterator[Row]:
    """On the cluster that RAY_ADDRESS names, whose machines have this folder too; if none, on this machine's cores."""
    os.environ |= {"RAY_worker_niceness": "0"}  # read when ray is imported: as of a process here
    import ray
    import torch

    threads = torch.get_num_threads()  # as many as a process here would take, so that the last bits are the same
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    ray.init(runtime_env={"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(threads)}})
    row = ray.remote(num_cpus=threads, max_calls=1, max_retries=0)(_row)
    waiting = [row.remote(cell) for cell in cells]
    while waiting:
        [done], waiting = ray.wait(waiting)
        yield ray.get(done)
    ray.shutdown()


ENGINES = {"process": _one_by_one, "ray": _on_ray}
