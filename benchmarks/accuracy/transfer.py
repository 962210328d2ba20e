"""What the cloud's help adds: local-only, the published scheme and every candidate, paired by seed.

Run: python -m benchmarks.accuracy.transfer run SUITE [--seeds 3] [--arms "local only" published ...]
     python -m benchmarks.accuracy.transfer table

SUITE is a name in SUITES. A cell is one (task, arm, seed); cells that `--out` already has are skipped, so a run can be
stopped and gone on with, and `--part i/n` lets n processes share the work. Data sets come from `--data-root`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line, one_of
from benchmarks.lib.markdown import markdown
from benchmarks.lib.seed_means import relative_gain, seed_gain, seed_mean
from ktl import DataConfig, EmbeddedCloud, RunConfig, load_generator, train_edge
from ktl.learning.settings import RECIPES
from ktl.loop.settings import CloudConfig
from ktl.machine import peak_memory
from ktl.objectives import TRANSFERS
from ktl.registry import chosen

SOURCES = {"cifar100": "cifar100-20k.npz", "tiny": "tiny-imagenet-10k", "fashion": "fashion-mnist"}

BASE = RunConfig("cnn4", warm_start="edge")  # KTL by pairs alone
LOCAL = "local only"
ARMS = {
    LOCAL: replace(BASE, transfer=None),
    "KTL by pairs": BASE,
    "published": replace(
        BASE,
        rounds=6,
        training=RECIPES["published"],
        transfer="mse",
        cloud=CloudConfig(alignment="published", pairs_per_class=1),
    ),
    "published task, tuned recipe": replace(BASE, transfer="mse"),
    "image-vector, before only": replace(BASE, transfer=TRANSFERS.choose("image-vector", joint_batch=0)),
    "image-vector, during only": replace(BASE, transfer=TRANSFERS.choose("image-vector", warmup_steps=0)),
    "contrastive": replace(BASE, transfer="contrastive"),
    "image-vector + contrastive": replace(BASE, transfer="image-vector+contrastive"),
    "random latents": replace(BASE, cloud=CloudConfig(alignment="random")),
    "aligned, 2 rounds": replace(BASE, rounds=2),
}
CANDIDATES = list(ARMS)
ARMS["KTL by warm start"] = RunConfig("cnn4", warm_start="cloud")
LARGE = "KTL by warm start, 4 MB"  # MobileNetV2's takes 2.6
ARMS[LARGE] = replace(ARMS["KTL by warm start"], cloud=CloudConfig(download_budget=4_000_000))
ARMS["3,700 pairs"] = replace(BASE, cloud=CloudConfig(pairs_per_class=37, download_budget=2_700_000))  # of 100 classes
ARMS["2,000 pairs, by 256"] = replace(  # of ten classes in grey
    BASE, cloud=CloudConfig(pairs_per_class=200), transfer=TRANSFERS.choose("image-vector", warmup_batch=256)
)


@dataclass(frozen=True)
class Task:
    """One few-shot task; ways None: all classes of the data."""

    data: str
    ways: int | None
    shots: int
    model: str = "cnn4"

    @property
    def label(self) -> str:
        """As a table shows it."""
        ways = self.ways or {"cifar100": 100, "tiny": 200, "fashion": 10}[self.data]
        return f"{self.data} {ways}-way {self.shots}-shot" + ("" if self.model == "cnn4" else f" {self.model}")


MAIN = [Task("cifar100", None, s) for s in (2, 9, 23)] + [Task("tiny", 50, s) for s in (2, 9)]
MAIN += [Task("fashion", None, s) for s in (2, 9)]
SUITES: dict[str, tuple[list[Task], list[str], int]] = {
    "main": (MAIN, [LOCAL, "KTL by pairs"], 5),
    "candidates": ([Task("cifar100", None, 2), Task("fashion", None, 2)], CANDIDATES, 5),
    "ablation": (
        [Task("cifar100", None, 2), Task("fashion", None, 2)],
        [LOCAL, "KTL by pairs", "random latents", "aligned, 2 rounds"],
        5,
    ),
    "pairs": ([Task("cifar100", None, 2)], [LOCAL, "KTL by pairs", "3,700 pairs"], 8),
    "draws": ([Task("fashion", None, 2)], [LOCAL, "KTL by pairs", "KTL by warm start"], 16),
    # no warm start of theirs ships: docs/results/one-edge.md makes them
    "resnet8": ([Task("cifar100", 10, 2, "resnet8")], [LOCAL, "KTL by warm start"], 3),
    "mobilenetv2": ([Task("cifar100", 10, 2, "mobilenetv2")], [LOCAL, LARGE], 3),
    "sizes": (
        [Task("cifar100", w, s) for w in (2, 5, 10, 20) for s in (2, 9)],
        [LOCAL, "KTL by pairs"],
        3,
    ),
}


def measure(task: Task, arm: str, seed: int, root: Path, threads: int) -> Row:
    """Runs one cell in this process: accuracy in percent, seconds, bytes, peak memory in MiB."""
    source = SOURCES[task.data] if task.data == "fashion" else str(root / SOURCES[task.data])
    data = DataConfig(source, shots=task.shots, ways=task.ways, image_size=32 if task.data == "tiny" else None)
    config = replace(ARMS[arm], data=data, model=task.model, seed=seed, threads=threads)
    return measure_run(config)


def measure_run(config: RunConfig) -> Row:
    """Trains one edge in this process: seed, accuracy in percent, seconds, bytes, peak memory in MiB."""
    started = time.monotonic()
    with TemporaryDirectory() as folder:
        cloud = None
        if config.transfer is not None:
            cloud = EmbeddedCloud(load_generator(chosen(config.cloud.generator).name, cached=True))
        result = train_edge(config, Path(folder) / "run", cloud)
    return {
        "seed": config.seed,
        "accuracy": 100 * result.evaluation.accuracy,
        "seconds": round(time.monotonic() - started, 1),
        "bytes_up": sum(row["bytes_up"] for row in result.rows),
        "bytes_down": sum(row["bytes_down"] for row in result.rows),
        "peak_mib": peak_memory() // 2**20,
    }


def cells(args: argparse.Namespace) -> list[Cell]:
    """Seed by seed; mixed within one, so that each part gets slow and fast ones."""
    tasks, arms, seeds = SUITES[args.suite]
    drawn = []
    for seed in range(args.first_seed, args.first_seed + (args.seeds or seeds)):
        of_seed = [(task, arm, seed) for task in tasks for arm in args.arms or arms]
        drawn += Random(seed).sample(of_seed, len(of_seed))
    return [
        Cell({"task": task.label, "arm": arm, "seed": seed}, measure, (task, arm, seed, args.data_root, args.threads))
        for task, arm, seed in drawn
    ]


def table(rows: list[Row]) -> str:
    """Every task and arm with its gain over local only on the same seeds."""
    lines = []
    order = [task.label for tasks, _, _ in SUITES.values() for task in tasks]
    for task in sorted({row["task"] for row in rows}, key=order.index):
        local = [row for row in rows if row["task"] == task and row["arm"] == LOCAL]
        paired = {row["seed"] for row in local}
        for arm in ARMS:
            cell = [row for row in rows if (row["task"], row["arm"]) == (task, arm) and row["seed"] in paired]
            if cell:
                base = [] if arm == LOCAL else local
                gained = [seed_gain(cell, base, "accuracy"), relative_gain(cell, base, "accuracy")]
                accuracy = seed_mean([row["accuracy"] for row in cell])
                lines.append([task, arm, len(cell), accuracy, *gained, *costs(cell)])
    return markdown(COLUMNS, lines)


COLUMNS = ["task", "arm", "seeds", "accuracy %", "gain, points", "relative", "seconds", "up", "down", "peak MiB"]


def costs(cell: list[Row]) -> list[str]:
    """Mean seconds and bytes, and the highest memory."""
    means = [statistics.mean(row[key] for row in cell) for key in ("seconds", "bytes_up", "bytes_down")]
    return [*(f"{mean:,.0f}" for mean in means), str(max(row["peak_mib"] for row in cell))]


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("suite", choices=SUITES)
    runs.add_argument("--threads", type=int, default=2)
    runs.add_argument("--first-seed", type=int, default=0)
    runs.add_argument("--seeds", type=int, help="the suite's if not given")
    runs.add_argument("--arms", nargs="+", type=one_of(ARMS), metavar="ARM", help="the suite's if none")


def of_suite(suite: str, rows: list[Row]) -> str:
    """The table of one suite's tasks and arms."""
    tasks, arms, _ = SUITES[suite]
    labels = [task.label for task in tasks]
    return table([row for row in rows if row["task"] in labels and row["arm"] in arms])


TABLES = {"all": table} | {suite: partial(of_suite, suite) for suite in SUITES}

if __name__ == "__main__":
    command_line("accuracy/transfer", __doc__, options, cells, TABLES)
