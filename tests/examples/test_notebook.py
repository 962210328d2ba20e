"""examples/few_images.ipynb runs from top to bottom, here with few steps, and is kept with its pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from support.documents import ROOT

from ktl import CloudConfig

NOTEBOOK = ROOT / "examples" / "few_images.ipynb"


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    drawn: list[int] = []
    monkeypatch.setattr(plt, "show", lambda: drawn.append(len(plt.gcf().axes)))
    names: dict[str, Any] = {"CloudConfig": CloudConfig}
    for cell in code_cells():
        few_steps = cell.replace("STEPS = 200", "STEPS = 4")
        few_pairs = few_steps.replace("seed=1,\n", "seed=1, threads=1, cloud=CloudConfig(pairs_per_class=2)\n")
        exec(compile(few_pairs, str(NOTEBOOK), "exec"), names)
    plt.close("all")
    printed = capsys.readouterr().out
    assert drawn == [20, 20, 1]
    assert len(re.findall(r"\d+ of 1000 test images right", printed)) == 2
    assert "round-001-prototypes" in printed


def test_it_is_kept_with_its_pictures() -> None:
    text = NOTEBOOK.read_text()
    assert text.count('"image/png"') == 3
    assert len(text) < 200_000
    assert '"output_type": "error"' not in text
