"""examples/few_images.ipynb runs from top to bottom, here with few steps, and is kept with its pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.documents import ROOT, with_few_steps

NOTEBOOK = ROOT / "examples" / "few_images.ipynb"


def test_it_runs(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs the extra ktl[dev]")
    client = pytest.importorskip("nbclient", reason="needs the extra ktl[dev]")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs = []
        if "RunConfig(data=" in cell.source:
            cell.source = with_few_steps(cell.source)
    client.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(output.get("text", "") for cell in code for output in cell.outputs)
    assert len(re.findall(r"\d+ of \d+ test images right", printed)) == 2
    assert "round-001-prototypes" in printed


def test_it_is_kept_with_its_pictures() -> None:
    text = NOTEBOOK.read_text()
    assert text.count('"image/png"') == 3
    assert len(text) < 200_000
    assert '"output_type": "error"' not in text
