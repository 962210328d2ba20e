"""What each generator's pre-training is worth to an edge: accuracy with its help and without, paired by seed.

Run: python -m benchmarks.accuracy.generators run builtin AFHQv2=stylegan3-t-afhqv2-512x512.safetensors \\
         "SD-Turbo=diffusers:stabilityai/sd-turbo" --data cifar100-20k.npz --shots 2 9 --seeds 5
     python -m benchmarks.accuracy.generators table

Generators are given as `ktl edge train --generator` takes them, with a name before `=` if the table should show one.
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.accuracy.transfer import measure_run
from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.markdown import markdown
from benchmarks.lib.seed_means import seed_gain, seed_mean
from ktl import DataConfig, RunConfig, load_generator
from ktl.learning.settings import TrainingConfig
from ktl.loop.settings import CloudConfig
from ktl.objectives import TRANSFERS
from ktl.registry import chosen

LOCAL = "local only"


def named(argument: str) -> tuple[str, str]:
    """`AFHQv2=FILE` or `FILE` -> name, source. An `=` after a `?` is an option of a diffusers generator."""
    match = re.match(r"([^=?:]+)=(.+)", argument)
    if match:
        return match[1], match[2]
    return Path(argument).name.removesuffix(".safetensors"), argument


def configurations(args: argparse.Namespace, source: str | None) -> list[RunConfig]:
    """One per seed and number of shots; source None: without a cloud."""
    base = RunConfig(
        "cnn4", warm_start="edge", training=TrainingConfig(steps=args.steps), transfer=None, threads=args.threads
    )
    if source is not None:
        warmup = {} if args.warmup_steps is None else {"warmup_steps": args.warmup_steps}
        cloud = CloudConfig(generator=source, alignment=args.alignment, download_budget=args.download_budget)
        base = replace(base, cloud=cloud, transfer=TRANSFERS.choose(args.transfer, **warmup))
    return [
        replace(base, data=DataConfig(args.data, shots, args.ways, args.image_size), seed=seed)
        for seed in range(args.seeds)
        for shots in args.shots
    ]


def measure(config: RunConfig) -> Row:
    """What the generator is, and one edge's training."""
    if config.transfer is None:
        return measure_run(config)
    generator = load_generator(chosen(config.cloud.generator).name)
    facts = {"family": generator.family, "latent": generator.latent_dim, "image_size": generator.image_size}
    return facts | measure_run(config)


def settings(config: RunConfig) -> str:
    """What must agree, beside the seed, for a row to be the same measurement."""
    return repr(replace(config, seed=0, threads=1))


def cells(args: argparse.Namespace) -> list[Cell]:
    """Local training first, then generator by generator."""
    arms: list[tuple[str, str | None]] = [(LOCAL, None), *(named(generator) for generator in args.generators)]
    found = []
    for name, source in arms:
        for config in configurations(args, source):
            key: Row = {"generator": name, "data": Path(config.data.source).stem, "shots": config.data.shots}
            found.append(Cell(key | {"settings": settings(config), "seed": config.seed}, measure, (config,)))
    return found


def table(rows: Sequence[Row]) -> str:
    """Local only and every generator at each number of shots, gains paired by seed, 95% intervals."""
    lines = []
    for data, shots in dict.fromkeys((row["data"], row["shots"]) for row in rows):
        of_task = [row for row in rows if (row["data"], row["shots"]) == (data, shots)]
        local = [row for row in of_task if row["generator"] == LOCAL]
        for name in dict.fromkeys(row["generator"] for row in of_task):
            cell = [row for row in of_task if row["generator"] == name]
            gained = "" if name == LOCAL else seed_gain(cell, local, "accuracy")
            seconds, down = (statistics.mean(row[key] for row in cell) for key in ("seconds", "bytes_down"))
            facts = [cell[0].get("family", ""), cell[0].get("latent", "")]
            accuracy = seed_mean([row["accuracy"] for row in cell])
            lines.append([data, shots, name, *facts, accuracy, gained, f"{seconds:.0f}", f"{down:,.0f}"])
    return markdown(COLUMNS, lines)


COLUMNS = ["data", "shots", "generator", "family", "latent", "accuracy %", "gain, points", "seconds", "bytes down"]


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("generators", nargs="+", metavar="[NAME=]GENERATOR")
    runs.add_argument("--data", default="fashion-mnist")
    runs.add_argument("--shots", type=int, nargs="+", default=[2])
    runs.add_argument("--ways", type=int)
    runs.add_argument("--image-size", type=int)
    runs.add_argument("--seeds", type=int, default=5)
    runs.add_argument("--alignment", default=CloudConfig.alignment)
    runs.add_argument("--transfer", default="image-vector", choices=TRANSFERS.names())
    runs.add_argument("--download-budget", type=int, default=CloudConfig.download_budget)
    runs.add_argument("--steps", type=int)
    runs.add_argument("--warmup-steps", type=int)
    runs.add_argument("--threads", type=int, default=2)


TABLES = {"all": table}

if __name__ == "__main__":
    command_line("accuracy/generators", __doc__, options, cells, TABLES)
