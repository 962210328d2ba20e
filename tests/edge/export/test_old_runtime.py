"""The oldest ONNX Runtime that bundles are said to run on, in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ktl.edge.export.bundle import write_bundle


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("int8", [False, True])
def test_onnx_runtime_1_15_answers_as_todays(embedded_run: Path, tmp_path: Path, int8: bool) -> None:
    old = tmp_path / "old"
    venv.create(old, with_pip=True)
    python = old / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    packages = ("onnxruntime==1.15.1", "numpy<2", "pillow")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    bundle = write_bundle(embedded_run, tmp_path / "bundle", int8=int8, max_drop=1.0).out
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    answers = [
        subprocess.run([program, bundle / "predict.py", tmp_path / "picture.png"], capture_output=True, check=True)
        for program in (python, sys.executable)
    ]
    (label, probability), (expected, todays) = (answer.stdout.decode().split("\t")[1:] for answer in answers)
    assert label == expected
    assert abs(float(probability) - float(todays)) < 0.02
