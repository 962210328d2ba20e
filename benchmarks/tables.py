"""The paper's tables 1, 2, 5, 6, 8 and 9, one command each: the published figure, ours, and the difference.

Run: python benchmarks/tables.py run 1 --out tables.jsonl [--size reduced|full] [--generators FOLDER] [--part 0/2]
     python benchmarks/tables.py table 1 --out tables.jsonl [--size reduced|full]

A cell is one (table, size, column, method, seed); those that `--out` already has are skipped. `full` is the paper's
size, `reduced` what benchmarks/table_runs.py says, which the table repeats. A column whose data or generator is not
there is skipped, and what is missing is named. Baselines and FedKTL have the papers' recipe and settings; rows that end
with "ktl's defaults" have the tuned recipe, for as many rounds and epochs. Best round's mean accuracy (table 9: the
last one's), mean and 95% interval over seeds.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import communication
from cells import Cell, Row, fill, read, run_options
from federated import federation_options, folder_of, measure_federation
from paper_figures import PUBLISHED
from seed_means import seed_mean
from table_runs import COLUMNS, SIZES, Missing, runs_of
from transfer import measure_run

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


def measure_traffic(method: str, column: str) -> Row:
    """A cell of table 5: millions of numbers."""
    with TemporaryDirectory() as folder:
        generator = Path(folder) / "wide.safetensors"
        communication.wide_generator(generator)
        up, down = communication.measure(method, communication.blank_data(), generator)
    return {"value": up if column == "up" else down}


def cells(table: int, args: argparse.Namespace) -> list[Cell]:
    """All cells of a table whose files are there, seed by seed."""
    if table == 5:
        keys = [{"table": 5, "size": "full", "column": c, "method": m, "seed": 0} for c, m in PUBLISHED[5]]
        return [Cell(key, measure_traffic, (key["method"], key["column"])) for key in keys]
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


def markdown(table: int, size: str, rows: list[Row]) -> str:
    """One line for each published figure, and for each of ours that has none."""
    rows = [row for row in rows if (row["table"], row["size"]) == (table, "full" if table == 5 else size)]
    unit = "million numbers" if table == 5 else "accuracy %"
    lines = ["Counted as the paper counts; docs/results/paper.md." if table == 5 else SIZES[size].remark, ""]
    lines += [f"| column | method | published {unit} | ours | difference | seeds | rounds | generator |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    measured = [(row["column"], row["method"]) for row in rows]
    for column in dict.fromkeys(column for column, _ in [*PUBLISHED[table], *measured]):
        for method in dict.fromkeys(m for c, m in [*PUBLISHED[table], *measured] if c == column):
            cell = [row for row in rows if (row["column"], row["method"]) == (column, method)]
            paper = PUBLISHED[table].get((column, method))
            ours = seed_mean([row["value"] for row in cell]) if cell else "not run"
            gap = f"{statistics.mean(r['value'] for r in cell) - paper:+.2f}" if cell and paper is not None else ""
            rounds = "/".join(str(n) for n in sorted({row.get("rounds", "") for row in cell}))
            generators = ", ".join(sorted({row.get("generator", "") for row in cell} - {""}))
            published = "" if paper is None else f"{paper:.2f}"
            lines.append(
                f"| {column} | {method} | {published} | {ours} | {gap} | {len(cell)} | {rounds} | {generators} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs, tables = commands.add_parser("run"), commands.add_parser("table")
    for command in (runs, tables):
        command.add_argument("table", type=int, choices=PUBLISHED)
        command.add_argument("--size", choices=SIZES, default="reduced")
    run_options(runs)
    federation_options(runs)
    runs.add_argument("--methods", nargs="*", metavar="METHOD", help="of the table, by name; all if none")
    runs.add_argument("--rounds", type=int, help="of a federation, in place of the size's")
    runs.add_argument("--generator", default="builtin", help="of tables 1, 2 and 9")
    runs.add_argument("--generators", type=Path, help="folder with those of tables 6 and 8")
    tables.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "run":
        fill(args.out, cells(args.table, args), args.part)
    else:
        print(markdown(args.table, args.size, read(args.out)))


if __name__ == "__main__":
    main()
