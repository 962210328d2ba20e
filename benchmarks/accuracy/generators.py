"""What each generator's pre-training is worth to an edge: accuracy with its help and without, paired by seed.

Run: python benchmarks/generators_transfer.py builtin AFHQv2=stylegan3-t-afhqv2-512x512.safetensors \\
         "SD-Turbo=diffusers:stabilityai/sd-turbo" --data cifar100-20k.npz --shots 2 9 --seeds 5 --out results.jsonl

Prints a markdown table. Generators are given as `ktl edge train --generator` takes them, with a name before `=` if the
table should show another. What `--out` already has is not measured again, so it can be stopped and gone on with.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from cells import read
from seed_means import seed_mean
from transfer import measure_run

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


def measure(name: str, config: RunConfig) -> dict[str, Any]:
    """One row of `--out`."""
    row = {"generator": name, "data": Path(config.data.source).stem, "shots": config.data.shots}
    if config.transfer is not None:
        generator = load_generator(chosen(config.cloud.generator).name)
        row |= {"family": generator.family, "latent": generator.latent_dim, "image_size": generator.image_size}
    return row | {"settings": settings(config)} | measure_run(config)


def settings(config: RunConfig) -> str:
    """What must agree, beside the seed, for a row to be the same measurement."""
    return repr(replace(config, seed=0, threads=1))


def run(cells: list[tuple[str, RunConfig]], out: Path) -> list[dict[str, Any]]:
    """Measures what `out` lacks; returns the rows of all cells."""
    measured = {(row["generator"], row["settings"], row["seed"]): row for row in read(out)}
    for name, config in cells:
        key = (name, settings(config), config.seed)
        if key not in measured:
            measured[key] = measure(name, config)
            with out.open("a") as file:
                file.write(json.dumps(measured[key]) + "\n")
    return [measured[name, settings(config), config.seed] for name, config in cells]


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: local only and every generator at each number of shots, gains paired by seed, 95% intervals."""
    lines = [
        "| data | shots | generator | family | latent | accuracy % | gain, points | seconds | bytes down |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    local = {(row["shots"], row["seed"]): row["accuracy"] for row in rows if row["generator"] == LOCAL}
    for shots in dict.fromkeys(row["shots"] for row in rows):
        for name in dict.fromkeys(row["generator"] for row in rows):
            cell = [row for row in rows if (row["shots"], row["generator"]) == (shots, name)]
            accuracy = seed_mean([row["accuracy"] for row in cell])
            gains = [row["accuracy"] - local[shots, row["seed"]] for row in cell]
            gained = "" if name == LOCAL else seed_mean(gains, sign="+")
            seconds, down = (sum(row[key] for row in cell) / len(cell) for key in ("seconds", "bytes_down"))
            first = cell[0]
            lines.append(
                f"| {first['data']} | {shots} | {name} | {first.get('family', '')} | {first.get('latent', '')} "
                f"| {accuracy} | {gained} | {seconds:.0f} | {down:,.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", nargs="+", metavar="[NAME=]GENERATOR")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--shots", type=int, nargs="+", default=[2])
    parser.add_argument("--ways", type=int)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--alignment", default=CloudConfig.alignment)
    parser.add_argument("--transfer", default="image-vector", choices=TRANSFERS.names())
    parser.add_argument("--download-budget", type=int, default=CloudConfig.download_budget)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--warmup-steps", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("generators.jsonl"))
    args = parser.parse_args()
    arms: list[tuple[str, str | None]] = [(LOCAL, None), *(named(generator) for generator in args.generators)]
    print(table(run([(name, config) for name, source in arms for config in configurations(args, source)], args.out)))


if __name__ == "__main__":
    main()
