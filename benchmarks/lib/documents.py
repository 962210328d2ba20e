"""The documents' tables: what stands between two markers is rendered from committed results.

<!-- table: federation/pooling shots --> ... <!-- end --> is the table `shots` of benchmarks/federation/pooling.py.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from benchmarks.lib.cells import read
from benchmarks.lib.command_line import results_of

ROOT = Path(__file__).resolve().parents[2]
MARKED = re.compile(r"(<!-- table: (\w+/\w+) (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """The README, and everything in docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rendered(text: str) -> str:
    """A page's text with every marked table rendered anew. Raises ModuleNotFoundError, KeyError."""
    return MARKED.sub(lambda mark: f"{mark[1]}\n{_table(mark[2], mark[3])}\n\n{mark[4]}", text)


def _table(benchmark: str, name: str) -> str:
    tables = import_module(f"benchmarks.{benchmark.replace('/', '.')}").TABLES
    return str(tables[name](read(results_of(benchmark))))
