"""A warm start from the cloud in place of an edge's own warm-up: accuracy, the edge's seconds, and bytes.

Run: python benchmarks/warm_start.py run --out warm_start.jsonl [--shots 2 9 23] [--seeds 1] [--arms ARM ...]
         [--images 100000] [--encoder builtin]
     python benchmarks/warm_start.py table --out warm_start.jsonl

CIFAR-100, 100 ways, the 4-layer CNN, 1.43 MB down in all: a warm start leaves room for fewer pairs. One that
is not kept yet is made first. An edge's seconds are those of its processor, on one thread, without the cloud's work.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from cells import Cell, Row, command_line
from seed_means import seed_mean

from ktl import DataConfig, EmbeddedCloud, RunConfig, load_generator, train_edge
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


class TimedCloud(EmbeddedCloud):
    """Counts the processor's seconds of the cloud's part."""

    seconds = 0.0

    def open(
        self, request: bytes, answered: Sequence[Mapping[int, bytes]], pooled: Sequence[Mapping[int, bytes]] = ()
    ) -> bytes:
        return self._timed(lambda: EmbeddedCloud.open(self, request, answered, pooled))

    def exchange(self, uploads: Mapping[int, bytes]) -> bytes:
        return self._timed(lambda: EmbeddedCloud.exchange(self, uploads))

    def warm_start(self, model: str) -> bytes:
        return self._timed(lambda: EmbeddedCloud.warm_start(self, model))

    def _timed(self, work: Callable[[], bytes]) -> bytes:
        began = time.process_time()
        payload = work()
        self.seconds += time.process_time() - began
        return payload


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
    lines = [
        "| shots | arm | seeds | accuracy % | over local | relative | edge s | bytes down |",
        "|---|---|---|---|---|---|---|---|",
    ]
    arms: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        images = f" of {row['images']:,} images" if row.get("images") else ""
        arms.setdefault((row["shots"], row["arm"] + images), []).append(row)
    for (shots, arm), own in sorted(arms.items(), key=lambda item: item[0][0]):
        local = {row["seed"]: row["accuracy"] for row in arms.get((shots, "local"), [])}
        paired = [(row["accuracy"], local[row["seed"]]) for row in own if row["seed"] in local and arm != "local"]
        lead = seed_mean([helped - alone for helped, alone in paired], "+") if paired else ""
        relative = f"{sum(h for h, _ in paired) / sum(a for _, a in paired) - 1:+.0%}" if paired else ""
        accuracy = seed_mean([row["accuracy"] for row in own])
        seconds, down = (statistics.mean(row[name] for row in own) for name in ("edge_seconds", "bytes_down"))
        cells = [str(shots), arm, str(len(own)), accuracy, lead, relative, f"{seconds:.0f}", f"{down:,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("--images", type=int, help="those that are ready, if none")
    runs.add_argument("--shots", type=int, nargs="+", default=[2])
    runs.add_argument("--seeds", type=int, default=1)
    runs.add_argument("--arms", nargs="*", choices=ARMS, metavar="ARM", help="of ARMS; all if none")
    runs.add_argument("--encoder", default=BUILTIN)


if __name__ == "__main__":
    command_line(__doc__, options, cells, table)
