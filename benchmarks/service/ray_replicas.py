"""Pairs a second of one replica of the generator that has a core, and of two that have a core each, on Ray Serve.

Run: python -m benchmarks.service.ray_replicas run [--repeats 1] [--sessions 8]
     python -m benchmarks.service.ray_replicas table

`ktl cloud serve --engine ray` with PostgreSQL on this machine; sessions of two edges and one round, eight at a time, of
as many owners. Proxy, server, database and the clients are on the same two cores, wherever they find room. The larger
generator is a StyleGAN2 of 128 pixels with random weights, an eighth as wide as the official ones. Its pairs are sent
at 32 pixels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import torch

from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.markdown import markdown
from benchmarks.service.fleet import LARGE, pin
from ktl.cloud.service.database import Database
from ktl.cloud.service.tokens import Tokens
from ktl.edge.network.transport import Access
from ktl.generators.networks.stylegan2 import StyleGAN2Config
from ktl.wire import count_pairs
from tests.support.postgres import postgres
from tests.support.ray_processes import replicas, served_on_ray
from tests.support.served import ServedCloud
from tests.support.tiny import save_random_generator
from tests.support.two_edges import drawn_by

AT_ONCE = 8
WARM_UP = 2  # sessions
BUILTIN, RANDOM = "built-in, 32 pixels", "StyleGAN2, 128 pixels"
WIDE = StyleGAN2Config(z_dim=16, w_dim=16, resolution=128, channel_base=4096, channel_max=64)


def measure(generator: str, count: int, sessions: int) -> Row:
    """The pairs of all sessions over the seconds that they took together."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder, postgres() as url:
        named = "builtin" if generator == BUILTIN else save_random_generator(Path(folder) / "random.safetensors", WIDE)
        cloud = served_on_ray(
            Path(folder),
            named,
            url,
            *("--generator-replicas", count, "--threads", 1, "--jobs", AT_ONCE),
            environment={"KTL_CACHE": f"{folder}/images"},  # else later cells find what the first one drew
        )
        try:
            tokens = [Tokens(Database(url)).create(f"owner-{number}", "edge") for number in range(AT_ONCE)]
            for core, replica in enumerate(replicas(cloud, "generator")):
                pin(replica.pid, core)
            draw(cloud, tokens, "warm", WARM_UP)
            began = time.monotonic()
            pairs = draw(cloud, tokens, "measured", sessions)
            seconds = time.monotonic() - began
        finally:
            cloud.stop(60)
    return {"sessions": sessions, "pairs": pairs, "seconds": seconds}


def draw(cloud: ServedCloud, tokens: Sequence[str], name: str, sessions: int) -> int:
    """How many pairs the sessions got."""

    def one(number: int) -> int:
        access = Access(cloud.url, tokens[number % AT_ONCE])
        request, run = replace(LARGE, seed=number), cloud.folder / f"{name}-{number}"
        return sum(count_pairs(payload) for payload in drawn_by(access, run, request, f"{number}", rounds=1))

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return sum(threads.map(one, range(sessions)))


def cells(args: argparse.Namespace) -> list[Cell]:
    """Each generator with one replica and with two, as often as asked."""
    return [
        Cell({"generator": name, "replicas": count, "repeat": repeat}, measure, (name, count, args.sessions))
        for repeat in range(args.repeats)
        for name in (BUILTIN, RANDOM)
        for count in (1, 2)
    ]


def table(rows: Sequence[Row]) -> str:
    """A line per generator, with the rate of every repeat."""
    lines = []
    for name in (BUILTIN, RANDOM):
        rates = [
            [row["pairs"] / row["seconds"] for row in rows if (row["generator"], row["replicas"]) == (name, count)]
            for count in (1, 2)
        ]
        gain = f"{mean(rates[1]) / mean(rates[0]):.2f}" if all(rates) else ""
        lines.append([name, *(", ".join(f"{rate:,.0f}" for rate in measured) for measured in rates), gain])
    return markdown(["generator", "one replica", "two replicas", "times"], lines)


def options(runs: argparse.ArgumentParser) -> None:
    """Of `run`."""
    runs.add_argument("--repeats", type=int, default=1)
    runs.add_argument("--sessions", type=int, default=8, help="measured, after those that warm up")


TABLES = {"all": table}

if __name__ == "__main__":
    command_line("service/ray_replicas", __doc__, options, cells, TABLES)
