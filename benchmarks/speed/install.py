"""What an installation takes: megabytes of each package here, and processor seconds of what a command imports.

Run: python -m benchmarks.speed.install run --wheels default
     python -m benchmarks.speed.install table packages imports

For a fresh virtual environment after `pip install .`, with that environment's Python. `--wheels` says where torch came
from: `default` is PyPI, `cpu` is PyTorch's index of wheels without CUDA.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path

from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.markdown import markdown

GPU = re.compile(r"nvidia-|cuda-|triton$")
IMPORTS = {
    "`ktl --help`": "import ktl_cli.main",
    "`ktl edge predict`": "import ktl_cli.main, ktl.edge.inference.predictor",
    "`ktl edge train`": "import ktl_cli.main, ktl.edge.compare, ktl.cloud.embedded",
    "the report after a training": "import ktl.report.page",
}
TIMES = 5
SMALLEST = 20  # megabytes: smaller packages are added up


def megabytes(package: Distribution) -> float:
    """Of a package's installed files, in millions of bytes; compiled bytecode included."""
    files = [Path(str(package.locate_file(file))) for file in package.files or []]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def measure_packages() -> Row:
    """Megabytes and version of each package in this environment."""
    found = {package.metadata["Name"]: package for package in distributions()}
    return {"packages": {name: [round(megabytes(each), 1), each.version] for name, each in found.items()}}


def measure_imports() -> Row:
    """Seconds of a processor, user and system, for each of IMPORTS: the least of TIMES processes."""
    return {"seconds": {what: min(_seconds(code) for _ in range(TIMES)) for what, code in IMPORTS.items()}}


def _seconds(code: str) -> float:
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def cells(args: argparse.Namespace) -> list[Cell]:
    """The packages; of the default wheels what their imports take, too."""
    packages = Cell({"measured": "packages", "wheels": args.wheels}, measure_packages, ())
    return [packages] + [Cell({"measured": "imports"}, measure_imports, ())] * (args.wheels == "default")


def package_table(rows: Sequence[Row]) -> str:
    """A line per large package, a column per kind of wheels."""
    of_wheels = {row["wheels"]: row["packages"] for row in rows if row["measured"] == "packages"}
    sizes = {wheels: _grouped(packages) for wheels, packages in of_wheels.items()}
    names = sorted({name for each in sizes.values() for name in each}, key=lambda name: -_largest(name, sizes))
    lines = [[name, *(f"{each.get(name, 0):,.0f}" for each in sizes.values())] for name in names]
    total = ["**all**", *(f"**{sum(each.values()):,.0f}**" for each in sizes.values())]
    return markdown(["package", *(f"{wheels} wheels, MB" for wheels in sizes)], [*lines, total])


def _grouped(packages: dict[str, tuple[float, str]]) -> dict[str, float]:
    sizes: dict[str, float] = {}
    for name, (size, _) in packages.items():
        large = "CUDA and Triton" if GPU.match(name) else name if size >= SMALLEST else "smaller ones"
        sizes[large] = sizes.get(large, 0) + size
    return sizes


def _largest(name: str, sizes: dict[str, dict[str, float]]) -> float:
    return 0.0 if name == "smaller ones" else max(each.get(name, 0) for each in sizes.values())


def import_table(rows: Sequence[Row]) -> str:
    """A line per command."""
    [row] = [row for row in rows if row["measured"] == "imports"]
    return markdown(
        ["command", "processor seconds"], [[what, f"{value:.1f}"] for what, value in row["seconds"].items()]
    )


def options(runs: argparse.ArgumentParser) -> None:
    """Which wheels of torch are installed."""
    runs.add_argument("--wheels", choices=("default", "cpu"), required=True)


TABLES = {"packages": package_table, "imports": import_table}

if __name__ == "__main__":
    command_line("speed/install", __doc__, options, cells, TABLES)
