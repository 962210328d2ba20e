"""A federation on this machine's cores by Flower's simulation: its nodes are played by processes of Ray."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # read when flwr is imported
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # of the processes that do the work: by default others go first

import ray  # noqa: F401 - before threads start: it extends the path that modules are found on
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from ktl.federation.problem import client_count
from ktl.federation.processes import WarmStarts
from ktl.federation.run import FederationResult, federate
from ktl.federation.settings import FederationConfig
from ktl.flower.client_app import client_app
from ktl.flower.post import Post
from ktl.flower.secure_fleet import fleet_of
from ktl.flower.sites import SharedRun
from ktl.loop.clients import Clients
from ktl.machine import cores
from ktl.methods.base import Problem

RUN = "0" * 16  # nodes of one machine play one run


def simulate(config: FederationConfig, out: Path, *, workers: int | None = None, **options: Any) -> FederationResult:
    """As `federate`, with clients on Flower's virtual nodes in `workers` processes of Ray, by default one per core.

    The numbers are those of `federate` to the bit, and so is the run's folder; a checkpoint follows each round.
    `options` are those of `federate`, but for `data`, which each process reads by itself. Raises what that raises.
    """
    results: list[FederationResult] = []
    server, ended = ServerApp(), Event()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        results.append(federate(config, out, engine=partial(_virtual_nodes, grid, ended), **options))

    site = SharedRun(out.absolute(), config.source)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    try:
        run_simulation(
            server,
            client_app(lambda context: site),
            num_supernodes=client_count(config),
            backend_config={
                "init_args": {"num_cpus": workers or len(cores()), "logging_level": "error", "log_to_driver": False},
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            },
        )
    finally:
        ended.set()
    return results[0]


@contextmanager
def _virtual_nodes(
    grid: Grid,
    ended: Event,
    config: FederationConfig,
    problem: Problem,
    active: Sequence[int],
    warm_starts: WarmStarts,
) -> Iterator[Clients]:
    """Any node may play any client: what they learn lies in the run's folder."""
    while len(node_ids := sorted(grid.get_node_ids())) < client_count(config):
        time.sleep(0.1)  # Flower is about to make them
    nodes = {client: node_ids[client] for client in active}
    yield fleet_of(config, problem, Post(grid, None, ended.is_set), lambda: nodes, RUN, active)
