"""Seconds per round: ktl's engine beside a straightforward sequential loop, in one run on one machine, to one result.

Run: python -m benchmarks.speed.engine run [--methods local fedproto fedktl fml] [--clients 20] [--rounds 2]
         [--precision float32 bfloat16] [--data cifar100-20k.npz]
     python -m benchmarks.speed.engine table

20 clients with the 4-layer CNN share 20,000 images equally, three quarters to train on: random ones, or those of
`--data`. Published recipe: SGD, batch 10, one epoch per round, evaluation included. benchmarks/speed/sequential.py is
the loop. The last columns are what both end with: accuracies, and the largest relative distance of a client's weights.
ktl's first round waits for its processes to start and is not counted; bfloat16 needs a processor that multiplies it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.markdown import markdown
from benchmarks.speed.sequential import LOOPS
from ktl.checkpoint import load_checkpoint, under
from ktl.data import load_dataset
from ktl.data.partition import FederatedData, partition, share_out
from ktl.data.settings import PartitionConfig
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.learning.settings import RECIPES
from ktl.loop.settings import CloudConfig

CLASSES = 100
RANDOM = "random"  # images


def shared_data(source: str, images: int, clients: int) -> FederatedData:
    """Equal shares of the data set `source`, or of random 32 x 32 images with random labels."""
    equal = PartitionConfig("iid", clients)
    if source != RANDOM:
        return share_out(load_dataset(source), equal, seed=0)
    rng = torch.Generator().manual_seed(0)
    pool = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, generator=rng)
    labels = torch.randint(0, CLASSES, (images,), generator=rng)
    return FederatedData([str(c) for c in range(CLASSES)], pool, labels, partition(labels.numpy(), equal, seed=0))


def configuration(method: str, rounds: int, precision: str = "float32") -> FederationConfig:
    """The published recipe, and its regression to latents on one pair per class."""
    return FederationConfig(
        method=method,
        rounds=rounds,
        training=RECIPES["published"],
        transfer="mse",
        warm_start="edge",
        cloud=CloudConfig(pairs_per_class=1),  # the published alignment magnifies rounding errors
        precision=precision,
    )


def measure(method: str, source: str, images: int, clients: int, rounds: int, precision: str) -> Row:
    """The loop first, then ktl on the same data: seconds per round and accuracies in percent."""
    data = shared_data(source, images, clients)
    with TemporaryDirectory() as folder:
        out, states = Path(folder) / "run", Path(folder) / "loop"
        states.mkdir()
        loop_seconds, loop_accuracy, models = LOOPS[method](configuration(method, rounds), data, states).run()
        rows = federate(configuration(method, rounds, precision), out, data=data).rows
        return {
            "loop_seconds": loop_seconds,
            "seconds": sum(row["seconds"] for row in rows[1:]) / (rounds - 1),
            "loop_accuracy": 100 * loop_accuracy,
            "accuracy": 100 * rows[-1]["accuracy"],
            "weights_apart": largest_distance(out, models),
        }


def largest_distance(run: Path, models: list[nn.Module]) -> float:
    """Over clients, |w - w'| / |w'| of ktl's weights w and the loop's w'."""
    distances = []
    for client, model in enumerate(models):
        theirs = model.state_dict()
        [file] = run.glob(f"clients/client-{client}.*")
        mine = under("model", load_checkpoint(file)[0])
        one, other = (torch.cat([weights[name].flatten() for name in theirs]) for weights in (mine, theirs))
        distances.append(float((one - other).norm() / other.norm()))
    return max(distances)


def cells(args: argparse.Namespace) -> list[Cell]:
    """Each method at each precision, beside a loop of its own."""
    found = []
    for method in args.methods:
        for precision in args.precision:
            key = {"method": method, "precision": precision, "data": Path(args.data).stem}
            key |= {"images": args.images, "clients": args.clients, "rounds": args.rounds}
            source = args.data if args.data == RANDOM else str(args.data_root / args.data)
            arguments = (method, source, args.images, args.clients, args.rounds + 1, precision)
            found.append(Cell(key, measure, arguments))
    return found


def table(rows: Sequence[Row]) -> str:
    """A line per run."""
    lines = []
    for row in rows:
        ratio = row["loop_seconds"] / row["seconds"]
        both = f"{row['loop_accuracy']:.2f}, {row['accuracy']:.2f}"
        seconds = [f"{row[name]:.2f}" for name in ("loop_seconds", "seconds")]
        lines.append([row["method"], row["precision"], *seconds, f"{ratio:.2f}", both, f"{row['weights_apart']:.1e}"])
    return markdown(COLUMNS, lines)


COLUMNS = ["method", "ktl's precision", "sequential loop, s per round", "ktl, s per round", "times as fast"]
COLUMNS += ["accuracy %, loop and ktl", "weights apart"]


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("--methods", nargs="+", choices=LOOPS, default=list(LOOPS))
    runs.add_argument("--clients", type=int, default=20)
    runs.add_argument("--images", type=int, default=20_000, help="random ones")
    runs.add_argument("--data", default=RANDOM, help="a data set, in place of random images")
    runs.add_argument("--rounds", type=int, default=2)
    runs.add_argument("--precision", nargs="+", choices=["float32", "bfloat16"], default=["float32"])


TABLES = {"all": table}

if __name__ == "__main__":
    command_line("speed/engine", __doc__, options, cells, TABLES)
