"""The most memory that all processes of a federation hold together.

Run: python -m benchmarks.speed.memory run [--methods local fedktl] [--clients 200] [--join-ratio 0.5]
     python -m benchmarks.speed.memory table

Two rounds of four steps each of the 4-layer CNN on random images, by the tuned recipe; beside it the clients' weights,
and the weights and moments of those that trained. Linux only.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.markdown import markdown
from benchmarks.speed.engine import CLASSES, RANDOM, shared_data
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.learning.settings import RECIPES
from ktl.models.edge_model import build_model
from ktl.objectives import TRANSFERS

GIBI = 2**30


def measure(method: str, images: int, clients: int, join_ratio: float) -> Row:
    """Bytes at the peak, and of what must be held."""
    tuned = replace(RECIPES["tuned"], epochs=None, steps=2 * 4, min_steps=0)
    transfer = TRANSFERS.choose("image-vector", warmup_steps=2)
    config = FederationConfig(
        method=method, rounds=2, join_ratio=join_ratio, training=tuned, transfer=transfer, warm_start="edge"
    )
    data = shared_data(RANDOM, images, clients)
    with TemporaryDirectory() as folder:
        peak = Peak()
        federate(config, Path(folder) / "run", data=data)
        held = peak.stop()
        trained = [file.stat().st_size for file in Path(folder).glob("run/clients/*")]
    model = build_model("cnn4", channels=3, image_size=32, classes=CLASSES, seed=0, etf_seed=0, settings=tuned)
    weights = clients * sum(tensor.numel() * 4 for tensor in model.state_dict().values())
    return {"peak_bytes": held, "weights_bytes": weights, "trained": len(trained), "states_bytes": sum(trained)}


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


def cells(args: argparse.Namespace) -> list[Cell]:
    """One a method."""
    key = {"images": args.images, "clients": args.clients, "join_ratio": args.join_ratio}
    return [Cell({"method": method} | key, measure, (method, *key.values())) for method in args.methods]


def table(rows: Sequence[Row]) -> str:
    """A line per run."""
    lines = []
    for row in rows:
        peak, weights, states = (f"{row[name] / GIBI:.2f}" for name in ("peak_bytes", "weights_bytes", "states_bytes"))
        lines.append([row["method"], row["clients"], row["join_ratio"], peak, weights, row["trained"], states])
    return markdown(COLUMNS, lines)


COLUMNS = ["method", "clients", "join ratio", "peak GiB", "all weights GiB", "clients that trained", "their states GiB"]


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("--methods", nargs="+", default=["local", "fedktl"])
    runs.add_argument("--clients", type=int, default=200)
    runs.add_argument("--images", type=int, default=20_000)
    runs.add_argument("--join-ratio", type=float, default=0.5)


TABLES = {"all": table}

if __name__ == "__main__":
    command_line("speed/memory", __doc__, options, cells, TABLES)
