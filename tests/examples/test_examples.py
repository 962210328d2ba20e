from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_fits_a_page() -> None:
    assert len((ROOT / "examples" / "few_images.py").read_text().splitlines()) <= 40


@pytest.mark.slow
def test_the_example_prints_both_accuracies(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "few_images.py", tmp_path / "run"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(re.findall(r"\d+\.\d% right", done.stdout)) == 2
    assert (tmp_path / "run" / "model.onnx").is_file()
