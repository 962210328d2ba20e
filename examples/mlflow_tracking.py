"""The main job with its settings, losses, accuracy and model in MLflow's local file store.

Run: pip install mlflow-skinny && python examples/mlflow_tracking.py [RUN_DIRECTORY]      then: mlflow ui
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # newer versions would rather have a database

import mlflow

from ktl import EmbeddedCloud, RunConfig, load_generator, train_beside_local
from ktl.edge.run import RunResult
from ktl.edge.tracking import tracked
from ktl.loop.rounds import Observer
from ktl.registry import chosen


class MlflowTracker:
    """Implements ktl.edge.tracking.Tracker; Weights & Biases needs the same four methods with its own calls."""

    def started(self, settings: dict[str, Any]) -> None:
        mlflow.log_params(settings)

    def loss(self, stage: str, step: int, value: float) -> None:
        mlflow.log_metric(f"loss {stage}", value, step=step)

    def round(self, row: dict[str, Any]) -> None:
        mlflow.log_metrics({name: value for name, value in row.items() if value is not None}, step=row["round"])

    def finished(self, result: RunResult) -> None:
        mlflow.log_artifact(str(result.out / "model.onnx"))


def main(out: Path, config: RunConfig | None = None) -> None:
    config = config or RunConfig()
    mlflow.set_tracking_uri(out.parent / "mlruns")
    with mlflow.start_run(run_name=out.name):
        tracker = MlflowTracker()
        observer = tracked(Observer(), [tracker], config)
        cloud = EmbeddedCloud(load_generator(chosen(config.cloud.generator).name))
        tracker.finished(train_beside_local(config, out, cloud, observer=observer).ktl)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/mlflow-example"))
