"""Benchmarks as `python -m benchmarks.ROOM.NAME` runs them, but in this process, where torch is imported already."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable

import pytest

Printed = Callable[..., list[str]]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    """printed("paper.tables", "table", "5") are the lines of `python -m benchmarks.paper.tables table 5`."""

    def run(name: str, *arguments: object) -> list[str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        monkeypatch.delitem(sys.modules, f"benchmarks.{name}", raising=False)  # runpy warns of what is imported already
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run
