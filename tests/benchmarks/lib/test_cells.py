"""Cells are measured once, in the part of the work that asks for them."""

from __future__ import annotations

import json
import operator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from benchmarks.lib.cells import Cell, fill, read
from ktl import __version__


def test_a_row_is_measured_once_and_says_where_and_when(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results" / "sums.jsonl"
    cells = [Cell({"seed": seed}, dict, ([("sum", seed + 1)],)) for seed in (0, 1)]
    fill(out, cells, part=(1, 2))
    [row] = read(out)
    assert (row["seed"], row["sum"], row["version"]) == (1, 2, __version__)
    assert row["machine"]["processor"]
    assert row["machine"]["cores"] >= 1
    assert (datetime.now(timezone.utc).date() - datetime.fromisoformat(row["date"]).date()).days <= 1
    before = out.read_bytes()
    capsys.readouterr()
    never = Cell({"seed": 1}, operator.truediv, (1, 0))
    fill(out, [never])
    assert out.read_bytes() == before
    assert "already" in capsys.readouterr().out


def test_what_a_stopped_run_has_measured_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "sums.jsonl"
    out.write_text(json.dumps({"seed": 0, "sum": 1}) + "\n")
    with pytest.raises(ZeroDivisionError):
        fill(out, [Cell({"seed": 0}, dict, ()), Cell({"seed": 1}, operator.truediv, (1, 0))])
    assert read(out) == [{"seed": 0, "sum": 1}]


@pytest.mark.slow
def test_rays_processes_measure_the_rows_of_this_machines(tmp_path: Path) -> None:
    pytest.importorskip("ray.serve", reason="needs the extra ktl[ray]")
    cells = [Cell({"seed": seed}, dict, ([("sum", seed + 1)],)) for seed in (0, 1)]
    for engine in ("process", "ray"):
        fill(tmp_path / engine, cells, engine=engine)
    here, there = (sorted(read(tmp_path / engine), key=lambda row: row["seed"]) for engine in ("process", "ray"))
    assert here == there
