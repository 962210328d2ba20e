"""Accuracy over bytes down and seconds of an edge, by space, budget and who warms up, beside its local training.

Run: python -m benchmarks.accuracy.budgets run [--megabytes 0.5 1.43 4 8] [--spaces latent encoder]
         [--warm-up edge cloud] [--generator builtin] [--data cifar100-20k.npz] [--shots 2] [--first-seed 0] [--seeds 1]
     python -m benchmarks.accuracy.budgets table [generated pools]

A cell is one training; cells that `--out` already has are skipped, so a run can be stopped and gone on with, and
`--part i/n` lets n processes share the work. Seconds are those of one core, without the cloud's own: drawing and
encoding, and a warm start that is not ready. The budget is filled: beside the warm start, if the cloud warms up, as
many pairs come as it holds. Budgets that do not hold a warm start are left to edges that warm up.
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
from benchmarks.lib.command_line import command_line
from benchmarks.lib.markdown import markdown
from benchmarks.lib.seed_means import seed_gain, seed_mean
from ktl import DataConfig, RunConfig, load_generator, train_edge
from ktl.edge.kept_pairs import pair_files
from ktl.loop.settings import CloudConfig
from ktl.machine import peak_memory
from ktl.registry import chosen
from ktl.spaces import SPACES, space_of
from ktl.wire import count_pairs

LOCAL = "local only"
POOL = "pool, "  # what the arms of pools begin with
LEAST_WITH_WARM_START = 1.0  # megabytes: that of the 4-layer CNN takes 0.88


def measure(config: RunConfig) -> Row:
    """Trains one edge on one core: accuracy in percent, its seconds and the cloud's, pairs and bytes down."""
    cloud = None
    if config.transfer is not None:
        generator = load_generator(chosen(config.cloud.generator).name)
        cloud = TimedCloud(generator, space_of(generator, config.cloud.space))
    began = time.process_time()
    with TemporaryDirectory() as folder:
        result = train_edge(config, Path(folder) / "run", cloud)
        pairs = sum(count_pairs(file.read_bytes()) for file in pair_files(result.out))
    cloud_seconds = cloud.seconds if cloud else 0.0
    return {
        "accuracy": 100 * result.evaluation.accuracy,
        "seconds": round(time.process_time() - began - cloud_seconds, 1),
        "cloud_seconds": round(cloud_seconds, 1),
        "pairs": pairs,
        "bytes_down": sum(row["bytes_down"] for row in result.rows),
        "peak_mib": peak_memory() // 2**20,
    }


def cells(args: argparse.Namespace) -> list[Cell]:
    """Of each seed: local training, then by who warms up, space and budget."""
    source = args.data if args.data == "fashion-mnist" else str(args.data_root / args.data)
    task = {"data": Path(args.data).stem, "shots": args.shots}
    drawn = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        base = RunConfig(data=DataConfig(source, shots=args.shots), seed=seed, threads=1)
        arms = {LOCAL: replace(base, transfer=None)}
        arms |= {name: replace(base, **changed) for name, changed in _arms(args).items()}
        for arm, config in arms.items():
            drawn.append(Cell(task | {"seed": seed, "arm": arm}, measure, (config,)))
    return drawn


def _arms(args: argparse.Namespace) -> dict[str, dict[str, object]]:
    """What a run has beside its data, by name."""
    arms: dict[str, dict[str, object]] = {}
    kind = "" if args.generator == "builtin" else f"{args.generator.partition(':')[0]}, "
    for warmed_by in args.warm_up:
        warm_start = ", warm start" if warmed_by == "cloud" else ""
        for space in args.spaces:
            for megabytes in args.megabytes:
                if warm_start and megabytes < LEAST_WITH_WARM_START:
                    continue
                cloud = CloudConfig(args.generator, download_budget=round(1e6 * megabytes), space=SPACES.parse(space))
                arms[f"{kind}{space}, {megabytes:g} MB{warm_start}"] = {"cloud": cloud, "warm_start": warmed_by}
    return arms


def table(rows: list[Row]) -> str:
    """A line an arm of each task: what it has more than local training of the same seeds, and what that costs."""
    lines = []
    for task in dict.fromkeys((row["data"], row["shots"]) for row in rows):
        own = [row for row in rows if (row["data"], row["shots"]) == task]
        local = {row["seed"]: row for row in own if row["arm"] == LOCAL}
        for arm in dict.fromkeys(row["arm"] for row in own):
            cell = [row for row in own if row["arm"] == arm and row["seed"] in local]
            if cell:
                lines.append([*task, arm, *_figures(cell, [local[row["seed"]] for row in cell])])
    return markdown(COLUMNS, lines)


def generated(rows: list[Row]) -> str:
    """The table of arms whose images the built-in generator draws."""
    return table([row for row in rows if not row["arm"].startswith(POOL)])


def pools(rows: list[Row]) -> str:
    """The table of pools, beside what the built-in generator gives in the latents' space for the same bytes."""
    beside = {row["arm"].removeprefix(POOL) for row in rows if row["arm"].startswith(POOL)} | {LOCAL}
    return table([row for row in rows if row["arm"].removeprefix(POOL) in beside])


COLUMNS = ["data", "shots", "arm", "seeds", "accuracy %", "gain, points", "pairs", "MB down", "edge's seconds"]
COLUMNS += ["of local's", "cloud's seconds", "peak MiB"]


def _figures(cell: Sequence[Row], local: Sequence[Row]) -> list[object]:
    """The columns from `seeds` on; the rows of `local` have the seeds of `cell`."""
    gained = "" if cell[0]["arm"] == LOCAL else seed_gain(cell, local, "accuracy")
    times = statistics.mean(row["seconds"] / alone["seconds"] for row, alone in zip(cell, local, strict=True))
    pairs, down, seconds, cloud = (
        statistics.mean(row[key] for row in cell) for key in ("pairs", "bytes_down", "seconds", "cloud_seconds")
    )
    accuracy, peak = seed_mean([row["accuracy"] for row in cell]), max(row["peak_mib"] for row in cell)
    traffic = [f"{pairs:,.0f}", f"{down / 1e6:.2f}"]
    return [len(cell), accuracy, gained, *traffic, f"{seconds:.0f}", f"{times:.1f}", f"{cloud:.0f}", peak]


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("--data", default="cifar100-20k.npz")
    runs.add_argument("--shots", type=int, default=2)
    runs.add_argument("--megabytes", type=float, nargs="+", default=[0.5, 1.43, 4, 8])
    runs.add_argument("--spaces", nargs="+", default=["latent", "encoder"], metavar="SPACE")
    runs.add_argument("--generator", default="builtin")
    runs.add_argument("--warm-up", nargs="+", default=["edge", "cloud"], choices=["edge", "cloud"], metavar="BY")
    runs.add_argument("--first-seed", type=int, default=0)
    runs.add_argument("--seeds", type=int, default=1)


TABLES = {"generated": generated, "pools": pools}

if __name__ == "__main__":
    command_line("accuracy/budgets", __doc__, options, cells, TABLES)
