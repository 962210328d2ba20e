"""A warm start from the cloud in place of an edge's own warm-up: accuracy, the edge's seconds, and bytes.

Run: python -m benchmarks.accuracy.warm_start run [--shots 2 9 23] [--seeds 1] [--arms ARM ...] [--images 100000]
         [--encoder builtin]
     python -m benchmarks.accuracy.warm_start table

CIFAR-100, 100 ways, the 4-layer CNN, 1.43 MB down in all: a warm start leaves room for fewer pairs. One that
is not kept yet is made first. An edge's seconds are those of its processor, on one thread, without the cloud's work.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.accuracy.timed_cloud import TimedCloud
from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line, one_of
from benchmarks.lib.markdown import markdown
from benchmarks.lib.seed_means import relative_gain, seed_gain, seed_mean
from ktl import DataConfig, RunConfig, load_generator, train_edge
from ktl.encoders import BUILTIN
from ktl.objectives import TRANSFERS
from ktl.registry import Choice, chosen
from ktl.spaces import SPACES, space_of
from ktl.warm_start.settings import WarmStartConfig

FIRST_SEED = 101  # apart from those that defaults are chosen by
BUDGET = 1_430_000  # bytes down
# space of the pairs, who warms up, the edge's steps after a warm start
ARMS: dict[str, tuple[str, str, int]] = {
    "local": ("latent", "none", 0),
    "pairs, latent": ("latent", "edge", 0),
    "pairs, encoder": ("encoder", "edge", 0),
    **{
        f"warm start, {space}, {steps} steps": (space, "cloud", steps)
        for space in ("latent", "encoder")
        for steps in (0, 50, 100)
    },
}


def config_of(arm: str, shots: int, seed: int, source: str) -> RunConfig:
    """The edge's run of an arm."""
    _, warmed_by, steps = ARMS[arm]
    config = RunConfig(data=DataConfig(source, shots=shots), seed=seed, threads=1)
    if warmed_by == "none":
        return replace(config, transfer=None)
    return replace(
        config,
        transfer=TRANSFERS.choose("image-vector", warm_started_steps=steps),
        warm_start=warmed_by,
        cloud=replace(config.cloud, download_budget=BUDGET),
    )


def measure(config: RunConfig, space: Choice, images: int | None) -> Row:
    """Trains one edge in this process: accuracy in percent, the edge's and the cloud's seconds, bytes down."""
    cloud = None
    if config.transfer is not None:
        generator = load_generator(chosen(config.cloud.generator).name)
        cloud = TimedCloud(generator, space_of(generator, space), WarmStartConfig(images=images))
    began = time.process_time()
    with TemporaryDirectory() as folder:
        result = train_edge(config, Path(folder) / "run", cloud)
    of_cloud = 0.0 if cloud is None else cloud.seconds
    return {
        "accuracy": 100 * result.evaluation.accuracy,
        "edge_seconds": round(time.process_time() - began - of_cloud, 1),
        "cloud_seconds": round(of_cloud, 1),
        "bytes_down": sum(row["bytes_down"] for row in result.rows),
    }


def cells(args: argparse.Namespace) -> list[Cell]:
    """Seed by seed."""
    source = str(args.data_root / "cifar100-20k.npz")
    drawn = []
    numbered = [(seed, shots) for seed in range(FIRST_SEED, FIRST_SEED + args.seeds) for shots in args.shots]
    for seed, shots in numbered:
        for arm in args.arms or ARMS:
            kind = ARMS[arm][0]
            space = SPACES.choose(kind) if kind == "latent" else SPACES.choose(kind, encoder=args.encoder)
            key: Row = {"arm": arm, "shots": shots, "seed": seed}
            if kind == "encoder":
                key["encoder"] = args.encoder
            if ARMS[arm][1] == "cloud":
                key["images"] = args.images
            drawn.append(Cell(key, measure, (config_of(arm, shots, seed, source), space, args.images)))
    return drawn


def table(rows: Sequence[Row]) -> str:
    """A line per arm and shots: accuracy, its lead over local training by seed, the edge's seconds, bytes."""
    lines = []
    for shots in sorted({row["shots"] for row in rows}):
        of_shots = [row for row in rows if row["shots"] == shots]
        local = [row for row in of_shots if row["arm"] == "local"]
        for arm in dict.fromkeys(map(label_of, of_shots)):
            own = [row for row in of_shots if label_of(row) == arm]
            base = [] if arm == "local" else local
            gained = [seed_gain(own, base, "accuracy"), relative_gain(own, base, "accuracy")]
            lines.append([shots, arm, len(own), seed_mean([row["accuracy"] for row in own]), *gained, *costs(own)])
    return markdown(COLUMNS, lines)


COLUMNS = ["shots", "arm", "seeds", "accuracy %", "over local", "relative", "edge s", "bytes down"]


def label_of(row: Row) -> str:
    """An arm as the table names it."""
    images = [f"{row['images']:,} images"] if row.get("images") else []
    return ", ".join([row["arm"], *images, *row.get("remarks", [])])


def costs(own: Sequence[Row]) -> list[str]:
    """The edge's mean seconds and bytes."""
    seconds, down = (statistics.mean(row[name] for row in own) for name in ("edge_seconds", "bytes_down"))
    return [f"{seconds:.0f}", f"{down:,.0f}"]


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("--images", type=int, help="those that are ready, if none")
    runs.add_argument("--shots", type=int, nargs="+", default=[2])
    runs.add_argument("--seeds", type=int, default=1)
    runs.add_argument("--arms", nargs="+", type=one_of(ARMS), metavar="ARM", help="of ARMS; all if none")
    runs.add_argument("--encoder", default=BUILTIN)


TABLES = {
    "all": table,
    "ships": lambda rows: table([row for row in rows if row["seed"] >= FIRST_SEED]),
    "tuning seed": lambda rows: table([row for row in rows if row["seed"] < FIRST_SEED]),
}

if __name__ == "__main__":
    command_line("accuracy/warm_start", __doc__, options, cells, TABLES)
