from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ktl.data.settings import DataConfig
from ktl.edge.settings import RunConfig
from ktl.learning.settings import TrainingConfig
from ktl.loop.settings import CloudConfig
from ktl.objectives import TRANSFERS

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


def test_mlflow_gets_settings_curves_and_model(tmp_path: Path, small_bundle: Path, tiny_generator_file: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    spec = importlib.util.spec_from_file_location("mlflow_tracking", ROOT / "examples" / "mlflow_tracking.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    config = RunConfig(
        data=DataConfig(str(small_bundle), shots=4),
        training=TrainingConfig(steps=20),
        transfer=TRANSFERS.choose("image-vector", warmup_steps=10),
        cloud=CloudConfig(str(tiny_generator_file), pairs_per_class=8),
        threads=1,
    )
    example.main(tmp_path / "run", config)
    [logged] = mlflow.MlflowClient(str(tmp_path / "mlruns")).search_runs(["0"])
    [row] = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert logged.data.params["training.steps"] == "20"
    assert logged.data.metrics["test_accuracy"] == row["test_accuracy"]
    assert {"loss shots", "loss warm-up", "bytes_down"} <= set(logged.data.metrics)
    assert [artifact.name for artifact in Path(logged.info.artifact_uri.removeprefix("file://")).iterdir()] == [
        "model.onnx"
    ]
