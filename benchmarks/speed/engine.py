"""Seconds per round: ktl's engine beside a straightforward sequential loop, in one run on one machine, to one result.

Run: python benchmarks/federation.py [--methods local,fedproto,fedktl,fml] [--clients 20] [--rounds 2]
     python benchmarks/federation.py --data cifar100-20k.npz ...
     python benchmarks/federation.py --memory [--clients 200] [--join-ratio 0.5]

20 clients with the 4-layer CNN share 20,000 images equally, three quarters to train on: random ones, or those of
`--data`. Published recipe: SGD, batch 10, one epoch per round, evaluation included. benchmarks/sequential.py is the
loop. The last columns are what both end with: accuracies, and the largest relative distance of a client's weights.
ktl's first round waits for its processes to start and is not counted; `--precision` adds bfloat16, which needs a
processor that multiplies it. `--memory` prints the most memory that all processes of a run of two rounds
and four steps each held together, beside the clients' weights, and the weights and moments of those that trained.
"""

from __future__ import annotations

import argparse
import threading
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import torch
from sequential import LOOPS
from torch import nn

from ktl.checkpoint import load_checkpoint, under
from ktl.data import load_dataset
from ktl.data.partition import FederatedData, partition, share_out
from ktl.data.settings import PartitionConfig
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.learning.settings import RECIPES
from ktl.loop.settings import CloudConfig
from ktl.models.edge_model import build_model
from ktl.objectives import TRANSFERS

CLASSES = 100
GIBI = 2**30


def shared_data(source: str | None, images: int, clients: int) -> FederatedData:
    """Equal shares of the data set `source`, or of random 32 x 32 images with random labels."""
    equal = PartitionConfig("iid", clients)
    if source is not None:
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
        cloud=CloudConfig(pairs_per_class=1),  # the published alignment magnifies rounding errors
        precision=precision,
    )


def timed(method: str, data: FederatedData, rounds: int, precisions: list[str], folder: Path) -> None:
    """Prints one line for the loop and one for ktl at each precision."""
    folder.mkdir()
    seconds, accuracy, models = LOOPS[method](configuration(method, rounds), data, folder).run()
    print(f"| {method} | sequential loop | {seconds:.2f} | | {100 * accuracy:.2f} | |", flush=True)
    for precision in precisions:
        out = folder / precision
        result = federate(configuration(method, rounds, precision), out, data=data)
        mine = sum(row["seconds"] for row in result.rows[1:]) / (rounds - 1)
        ratio, accuracy = seconds / mine, 100 * result.rows[-1]["accuracy"]
        distance = largest_distance(out, models)
        print(
            f"| {method} | ktl, {precision} | {mine:.2f} | {ratio:.2f} | {accuracy:.2f} | {distance:.1e} |", flush=True
        )


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


def memory(data: FederatedData, clients: int, join_ratio: float, method: str, folder: Path) -> None:
    """Prints the most memory that a run of two rounds holds, over all of its processes."""
    tuned = replace(RECIPES["tuned"], epochs=None, steps=2 * 4, min_steps=0)
    transfer = TRANSFERS.choose("image-vector", warmup_steps=2)
    config = FederationConfig(method=method, rounds=2, join_ratio=join_ratio, training=tuned, transfer=transfer)
    peak = Peak()
    federate(config, folder, data=data)
    bytes_held = peak.stop()
    model = build_model("cnn4", channels=3, image_size=32, classes=CLASSES, seed=0, etf_seed=0, settings=tuned)
    weights = clients * sum(tensor.numel() * 4 for tensor in model.state_dict().values())
    trained = [file.stat().st_size for file in folder.glob("clients/*")]
    print(
        f"| {method} | {clients} | {join_ratio:g} | {bytes_held / GIBI:.2f} | {weights / GIBI:.2f} "
        f"| {len(trained)} | {sum(trained) / GIBI:.2f} |",
        flush=True,
    )


class Peak:
    """Samples the proportional memory (bytes) of this process and its children until it is stopped."""

    def __init__(self) -> None:
        self._peak, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """The most that was seen."""
        self._done.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        this = psutil.Process()
        while not self._done.wait(0.1):
            self._peak = max(self._peak, sum(map(_proportional, [this, *this.children(recursive=True)])))


def _proportional(process: psutil.Process) -> int:
    """Bytes of resident memory, those shared by n processes counted as an n-th. Linux only."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:  # it has ended
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="local,fedproto,fedktl,fml")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--data", help="a data set, in place of random images")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--precision", default="float32", help="float32, or float32,bfloat16")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--join-ratio", type=float, default=0.5, help="of --memory")
    args = parser.parse_args()
    data = shared_data(args.data, args.images, args.clients)
    started = time.monotonic()
    if args.memory:
        print(
            "| method | clients | join ratio | peak GiB | all weights GiB | clients that trained | their states GiB |"
        )
    else:
        print("| method | engine | s per round | times as fast | accuracy % | weights apart |")
    print("|---|---|---|---|---|---|" + ("---|" if args.memory else ""))
    with TemporaryDirectory() as folder:
        for method in args.methods.split(","):
            if args.memory:
                memory(data, args.clients, args.join_ratio, method, Path(folder) / method)
            else:
                timed(method, data, args.rounds + 1, args.precision.split(","), Path(folder) / method)
    print(f"\n{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
