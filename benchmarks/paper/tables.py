"""The paper's tables 1, 2, 5, 6, 8 and 9, one command each: the published figure, ours, and the difference.

Run: python -m benchmarks.paper.tables run 1 [--size reduced|full] [--generators FOLDER] [--part 0/2]
     python -m benchmarks.paper.tables table "1 reduced"

A cell is one (table, size, column, method, seed); those that `--out` already has are skipped. `full` is the paper's
size, `reduced` what benchmarks/paper/columns.py says, which the table repeats. A column whose data or generator is not
there is skipped, and what is missing is named. Baselines and FedKTL have the papers' recipe and settings; rows that end
with "ktl's defaults" have the tuned recipe, for as many rounds and epochs. Best round's mean accuracy (table 9: the
last one's), mean and 95% interval over seeds. Table 5 counts numbers as the paper does (benchmarks/paper/traffic.py).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.accuracy.transfer import measure_run
from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.federations import federation_options, folder_of, measure_federation
from benchmarks.lib.markdown import markdown
from benchmarks.lib.seed_means import seed_mean
from benchmarks.paper import traffic
from benchmarks.paper.columns import COLUMNS, SIZES, Missing, runs_of
from benchmarks.paper.published import PUBLISHED, TRAFFIC
from ktl import RunConfig
from ktl.federation.settings import FederationConfig
from ktl.registry import chosen


def measure(config: FederationConfig | RunConfig, folder: Path, workers: int | None) -> Row:
    """One cell; `value` is what the table shows."""
    if isinstance(config, RunConfig):
        row = measure_run(config)
        return {"value": row["accuracy"]} | row
    row = measure_federation(config, folder, workers)
    return {"value": row["best"]} | row


def measure_traffic(method: str) -> Row:
    """A line of table 5: millions of numbers up and down."""
    with TemporaryDirectory() as folder:
        generator = Path(folder) / "wide.safetensors"
        traffic.wide_generator(generator)
        up, down = traffic.measure(method, traffic.blank_data(), generator)
    return {"up": up, "down": down}


def cells(args: argparse.Namespace) -> list[Cell]:
    """All cells of a table whose files are there, seed by seed."""
    table = args.table
    if table == 5:
        return [Cell({"table": 5, "method": method}, measure_traffic, (method,)) for method in TRAFFIC]
    runs = []
    for column in COLUMNS[table]:
        try:
            runs += [(column, method, config) for method, config in runs_of(table, column, args)]
        except Missing as missing:
            print(f"skipped {column.name}: {missing}", flush=True)
    methods = list(dict.fromkeys(method for _, method, _ in runs))
    if runs and (unknown := set(args.methods or []) - set(methods)):
        raise SystemExit(f"table {table} has no method {', '.join(sorted(unknown))}: choose of {', '.join(methods)}")
    runs = [run for run in runs if run[1] in (args.methods or methods)]
    of_all_seeds = []
    for seed in range(args.seeds):
        for column, method, config in runs:
            key = {"table": table, "size": args.size, "column": column.name, "method": method, "seed": seed}
            key |= {"rounds": config.rounds, "generator": Path(chosen(config.cloud.generator).name).name}
            arguments = (replace(config, seed=seed), folder_of(args.out, key), args.workers)
            of_all_seeds.append(Cell(key, measure, arguments))
    return of_all_seeds


def compared(table: int, size: str, rows: Sequence[Row]) -> str:
    """One line for each published figure, and for each of ours that has none."""
    rows = [row for row in rows if row["table"] == table and row["size"] == size]
    measured = [(row["column"], row["method"]) for row in rows]
    lines = []
    for column in dict.fromkeys(column for column, _ in [*PUBLISHED[table], *measured]):
        for method in dict.fromkeys(m for c, m in [*PUBLISHED[table], *measured] if c == column):
            cell = [row for row in rows if (row["column"], row["method"]) == (column, method)]
            paper = PUBLISHED[table].get((column, method))
            ours = seed_mean([row["value"] for row in cell]) if cell else "not run"
            gap = f"{statistics.mean(r['value'] for r in cell) - paper:+.2f}" if cell and paper is not None else ""
            rounds = "/".join(str(n) for n in sorted({row["rounds"] for row in cell}))
            generators = ", ".join(sorted({row["generator"] for row in cell}))
            published = "" if paper is None else f"{paper:.2f}"
            lines.append([column, method, published, ours, gap, len(cell), rounds, generators])
    return f"{SIZES[size].remark}\n\n{markdown(COMPARED, lines)}"


COMPARED = ["column", "method", "published accuracy %", "ours", "difference", "seeds", "rounds", "generator"]


def carried(rows: Sequence[Row]) -> str:
    """Table 5: millions of numbers up and down."""
    ours = {row["method"]: row for row in rows if row["table"] == 5}
    lines = []
    for method, (up, down) in TRAFFIC.items():
        own = [f"{ours[method][way]:.2f}" if method in ours else "not run" for way in ("up", "down")]
        lines.append([method, own[0], f"{up:.2f}", own[1], f"{down:.2f}"])
    return markdown(["method", "up", "published", "down", "published"], lines)


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("table", type=int, choices=[*COLUMNS, 5])
    runs.add_argument("--size", choices=SIZES, default="reduced")
    federation_options(runs)
    runs.add_argument("--methods", nargs="*", metavar="METHOD", help="of the table, by name; all if none")
    runs.add_argument("--rounds", type=int, help="of a federation, in place of the size's")
    runs.add_argument("--generator", default="builtin", help="of tables 1, 2 and 9")
    runs.add_argument("--generators", type=Path, help="folder with those of tables 6 and 8")


TABLES = {"5": carried} | {f"{table} {size}": partial(compared, table, size) for table in COLUMNS for size in SIZES}

if __name__ == "__main__":
    command_line("paper/tables", __doc__, options, cells, TABLES)
