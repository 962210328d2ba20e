"""The commands of every benchmark that fills cells: `run` measures what is missing, `table` prints what there is."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.lib.cells import ENGINES, Cell, Row, fill, read

RESULTS = Path(__file__).resolve().parents[2] / "results"
Tables = Mapping[str, Callable[[list[Row]], str]]


def results_of(benchmark: str) -> Path:
    """Where the rows of "room/file" lie that the documents show."""
    return RESULTS / f"{benchmark.replace('/', '-')}.jsonl"


def out_option(parser: argparse.ArgumentParser, benchmark: str) -> None:
    """`--out`: where the rows of "room/file" go, by default those that the documents show."""
    parser.add_argument("--out", type=Path, default=results_of(benchmark), help="rows, a JSON line each")


def command_line(
    benchmark: str,
    about: str | None,
    options: Callable[[argparse.ArgumentParser], None],
    cells: Callable[[argparse.Namespace], Sequence[Cell]],
    tables: Tables,
) -> None:
    """`options` are those of `run`, which fills `cells`; `table` prints the first of `tables`, or those named."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs, shown = commands.add_parser("run"), commands.add_parser("table")
    for command in (runs, shown):
        out_option(command, benchmark)
    runs.add_argument("--data-root", type=Path, default=Path("data"), help="folder of data sets")
    runs.add_argument("--part", type=_part, default=(0, 1), help="0/2 and 1/2 are two processes' halves of the work")
    runs.add_argument("--engine", choices=ENGINES, default="process", help="ray: cells at once, over a cluster")
    options(runs)
    shown.add_argument("names", nargs="*", type=one_of(tables), metavar="TABLE", help=", ".join(tables))
    args = parser.parse_args()
    if args.command == "run":
        fill(args.out, cells(args), args.part, args.engine)
        return
    rows = read(args.out)
    print("\n\n".join(tables[name](rows) for name in args.names or list(tables)[:1]))


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """The type of an argument that is one of `names`; argparse's own `choices` refuse a list that may be empty."""

    def chosen(name: str) -> str:
        if name not in names:
            raise argparse.ArgumentTypeError(f"unknown {name!r}: choose of {', '.join(names)}")
        return name

    return chosen


def _part(text: str) -> tuple[int, int]:
    index, parts = text.split("/")
    return int(index), int(parts)
