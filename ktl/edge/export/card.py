"""The model card that travels with a model: what it is, how good, made how, from what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ktl.data.depth import described
from ktl.edge.export.quantise import Quantisation
from ktl.edge.onnx.graph import OPSET
from ktl.edge.record import Record, read_record
from ktl.files import read_rows
from ktl.formatting import in_percent, in_shots
from ktl.intervals import wilson_interval
from ktl.run_folder import METRICS, settings_table


def model_card(
    run: Path, record: Record, model_file: str, quantisation: Quantisation | None = None, *, tested: bool = True
) -> str:
    """Markdown, for the model file `model_file` of a finished run.

    `tested`: whether the quantisation was measured on the test images, or else by how often it gives float32's class.
    Raises CheckpointError where the run's settings or metrics are missing or damaged.
    """
    labels, predicted = record.arrays["labels"], record.arrays["predicted"]
    accuracy = float((labels == predicted).mean())
    quantised = quantisation if quantisation is not None and quantisation.calibration is not None else None
    exported_accuracy = quantised.after.accuracy if quantised and tested else accuracy
    low, high = wilson_interval(round(exported_accuracy * len(labels)), len(labels))
    rows = read_rows(run / METRICS)
    settings = settings_table(run)
    size, channels = record.arrays["shots"].shape[2:]
    return render_card(
        "card.md.j2",
        name=run.name,
        file=model_file,
        calibration=quantised.calibration if quantised else None,
        same_class=quantised.after.accuracy if quantised and not tested else None,
        labels=record.class_names,
        size=size,
        channels=channels,
        depth=described(record.ranges),
        fit=settings["data"].get("fit", "crop"),
        record=record,
        model=settings["model"],
        settings=settings,
        shared=settings["transfer"] is not None and settings["cloud"].get("session") is not None,
        tested=len(labels),
        accuracy=exported_accuracy,
        float_accuracy=accuracy,
        local_accuracy=_local_accuracy(run),
        low=low,
        high=high,
        bytes_up=sum(row["bytes_up"] for row in rows),
        bytes_down=sum(row["bytes_down"] for row in rows),
    )


def render_card(template: str, **facts: Any) -> str:
    """Markdown, from a template in this folder."""
    loader = PackageLoader("ktl.edge.export", ".")
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.get_template(template).render(percent=in_percent, in_shots=in_shots, opset=OPSET, **facts)


def _local_accuracy(run: Path) -> float | None:
    """Of the same training without the cloud, if it was done."""
    if not (run / "local-only" / "record.json").is_file():
        return None
    arrays = read_record(run / "local-only").arrays
    return float((arrays["labels"] == arrays["predicted"]).mean())
