"""A federation on this machine's cores by Flower's simulation: its nodes are played by processes of Ray."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # read when flwr is imported
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # of the processes that do the work: by default others go first

import ray  # noqa: F401 - before threads start: it extends the path that modules are found on
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from ktl.federation.processes import WarmStarts
from ktl.federation.run import FederationResult, OnRound, federate
from ktl.federation.settings import FederationConfig
from ktl.flower.client_app import client_app
from ktl.flower.post import Post
from ktl.flower.secure_fleet import fleet_of
from ktl.flower.sites import SharedRun
from ktl.loop.clients import Clients
from ktl.loop.connection import CloudConnection
from ktl.machine import cores
from ktl.methods.base import Problem

RUN = "0" * 16  # nodes of one machine play one run


def simulate(
    config: FederationConfig,
    out: Path,
    *,
    connection: CloudConnection | None = None,
    workers: int | None = None,
    resume: bool = False,
    on_round: OnRound = lambda row, accuracies: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> FederationResult:
    """As `federate`, with clients on Flower's virtual nodes in `workers` processes of Ray, by default one per core.

    The numbers are those of `federate` to the bit, and the run folder is the same. Raises what `federate` raises.
    """
    results: list[FederationResult] = []
    ended = Event()
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        @contextmanager
        def engine(
            config: FederationConfig, problem: Problem, active: Sequence[int], warm_starts: WarmStarts
        ) -> Iterator[Clients]:
            node_ids = sorted(grid.get_node_ids())  # any node may play any client: what they learn lies in `out`
            nodes = {client: node_ids[client] for client in active}
            yield fleet_of(config, problem, Post(grid, None, ended.is_set), lambda: nodes, RUN, active)

        results.append(
            federate(
                config,
                out,
                connection=connection,
                engine=engine,
                resume=resume,
                on_round=on_round,
                should_stop=should_stop,
            )
        )

    site = SharedRun(out.absolute(), config.source)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    try:
        run_simulation(
            server,
            client_app(lambda context: site),
            num_supernodes=config.partition.clients,
            backend_config={
                "init_args": {"num_cpus": workers or len(cores()), "logging_level": "error", "log_to_driver": False},
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            },
        )
    finally:
        ended.set()
    return results[0]
