"""A few photographs per class at their own size: an edge by itself, with pairs, with a warm start, and frozen encoders.

Run: python -m benchmarks.accuracy.photographs run --data FOLDER [--ways 5 10 20] [--shots 2 5 10 20] [--seeds 3]
         [--arms ARM ...] [--encoder builtin benchmarks.accuracy.lite0:Lite0]
     python -m benchmarks.accuracy.photographs table

FOLDER holds photographs as `ktl edge train --data` takes them; classes and shots are drawn by seed. "small" arms are
the 4-layer CNN at 32 pixels, "pre-trained" ones EfficientNet-Lite0 in float32 with 200 steps on the shots; else all
have what `ktl edge train` chooses. An edge's seconds are those of its
processor, on one thread, without the cloud's work; an encoder's row is the cosine to the class means of its embedding.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.accuracy.nearest_mean import nearest_mean_accuracy
from benchmarks.accuracy.timed_cloud import TimedCloud
from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line, one_of
from benchmarks.lib.markdown import markdown
from benchmarks.lib.seed_means import seed_gain, seed_mean
from ktl import DataConfig, RunConfig, load_encoder, load_generator, train_edge
from ktl.edge.export.measure import open_session, time_calls
from ktl.edge.task import draw

FIRST_SEED = 110  # apart from those that defaults are chosen by
WARM = "warm start"
ARMS = ("small, local", "small, pairs", "local", "pairs", WARM)
PRETRAINED = ("pre-trained, local", "pre-trained, pairs")


def config_of(arm: str, source: str, ways: int, shots: int, seed: int) -> RunConfig:
    """The edge's run of an arm."""
    config = RunConfig(data=DataConfig(source, shots=shots, ways=ways), seed=seed, threads=1)
    if arm.startswith("small"):
        config = replace(config, model="cnn4", data=replace(config.data, image_size=32))
    if arm.startswith("pre-trained"):
        training = replace(config.training, steps=200)
        model = "benchmarks.accuracy.lite0:Lite0Extractor"
        config = replace(config, model=model, training=training, precision="float32")
    if arm.endswith("local"):
        return replace(config, transfer=None)
    return replace(config, warm_start="cloud" if arm == WARM else "edge")


def measure(config: RunConfig) -> Row:
    """Trains one edge in this process: accuracy in percent, seconds, bytes down, and its model's size and latency."""
    cloud = None if config.transfer is None else TimedCloud(load_generator("builtin"))
    began = time.process_time()
    with TemporaryDirectory() as folder:
        result = train_edge(config, Path(folder) / "run", cloud)
        seconds = time.process_time() - began - (0.0 if cloud is None else cloud.seconds)
        model = Path(folder) / "run" / "model.onnx"
        weight, milliseconds = model.stat().st_size, latency(model, draw(config).shot_images.shape[2])
    return {
        "accuracy": 100 * result.evaluation.accuracy,
        "edge_seconds": round(seconds, 1),
        "bytes_down": sum(row["bytes_down"] for row in result.rows),
        "model_bytes": weight,
        "milliseconds": round(milliseconds, 2),
    }


def latency(model: Path, size: int) -> float:
    """Milliseconds of an exported model for one picture on one thread, the median."""
    session = open_session(model, threads=1)
    picture = np.zeros((1, size, size, 3), dtype=np.uint8)
    return time_calls(lambda: session.run(None, {"images": picture})).p50


def measure_encoder(source: str, config: RunConfig) -> Row:
    """The nearest class mean in an encoder's embedding, nothing trained."""
    return {"accuracy": nearest_mean_accuracy(load_encoder(source), draw(config))}


def cells(args: argparse.Namespace) -> list[Cell]:
    """Seed by seed, so that a stopped run has whole comparisons."""
    found = []
    for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
        for ways in args.ways:
            for shots in args.shots:
                key: Row = {"ways": ways, "shots": shots, "seed": seed}
                for arm in args.arms or ARMS:
                    config = config_of(arm, args.data, ways, shots, seed)
                    found.append(Cell(key | {"arm": arm}, measure, (config,)))
                for encoder in args.encoder:
                    config = config_of("local", args.data, ways, shots, seed)
                    found.append(Cell(key | {"arm": f"nearest mean, {encoder}"}, measure_encoder, (encoder, config)))
    return found


def table(rows: Sequence[Row]) -> str:
    """A line per arm of each setting: accuracy, and its lead over the same network's local training, by seed."""
    lines = []
    for setting in dict.fromkeys((row["ways"], row["shots"]) for row in rows):
        of_setting = [row for row in rows if (row["ways"], row["shots"]) == setting]
        for arm in dict.fromkeys(row["arm"] for row in of_setting):
            own = [row for row in of_setting if row["arm"] == arm]
            base = next((f"{kind}, local" for kind in ("small", "pre-trained") if arm.startswith(kind)), "local")
            local = [row for row in of_setting if row["arm"] == base]
            lead = "" if arm == base else seed_gain(own, local, "accuracy")
            costs = [_mean(own, name, form) for name, form in COSTS.items()]
            accuracy = seed_mean([row["accuracy"] for row in own])
            lines.append([f"{setting[0]}, {setting[1]}", arm, len(own), accuracy, lead, *costs])
    return markdown(COLUMNS, lines)


COLUMNS = ["ways, shots", "arm", "seeds", "accuracy %", "over local", "edge s", "down", "model", "ms per image"]
COSTS = {"edge_seconds": ".0f", "bytes_down": ",.0f", "model_bytes": ",.0f", "milliseconds": ".1f"}


def _mean(own: Sequence[Row], name: str, form: str) -> str:
    values = [row[name] for row in own if name in row]
    return f"{statistics.mean(values):{form}}" if values else ""


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("--data", required=True)
    runs.add_argument("--ways", type=int, nargs="+", default=[5, 10, 20])
    runs.add_argument("--shots", type=int, nargs="+", default=[2, 5, 10, 20])
    runs.add_argument("--seeds", type=int, default=3)
    runs.add_argument("--arms", nargs="+", type=one_of((*ARMS, *PRETRAINED)), metavar="ARM", help="of ARMS if none")
    runs.add_argument("--encoder", nargs="*", default=["builtin"])


TABLES = {"all": table}

if __name__ == "__main__":
    command_line("accuracy/photographs", __doc__, options, cells, TABLES)
