"""Benchmarks as `python benchmarks/NAME.py` runs them, but in this process, where torch is imported already."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

Printed = Callable[..., list[str]]
Names = Callable[[str], SimpleNamespace]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    """printed("tables", "table", 8) are the lines that `python benchmarks/tables.py table 8` prints."""

    def run(name: str, *arguments: object) -> list[str]:
        monkeypatch.syspath_prepend(BENCHMARKS)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def names_in(monkeypatch: pytest.MonkeyPatch) -> Names:
    """names_in("federation").LOOPS is what benchmarks/federation.py calls LOOPS; the benchmark is not run."""

    def load(name: str) -> SimpleNamespace:
        monkeypatch.syspath_prepend(BENCHMARKS)
        return SimpleNamespace(**runpy.run_path(str(BENCHMARKS / f"{name}.py")))

    return load
