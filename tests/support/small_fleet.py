"""Devices with images of their own, and what the ServerApp does with them over a grid in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from flwr.app import Message
from support.direct_grid import DirectGrid

from ktl.checkpoint import load_checkpoint
from ktl.class_statistics import ClassStatistics, pooled
from ktl.data.partition import FederatedData
from ktl.data.partition_files import save_partition
from ktl.federation.processes import WarmStarts
from ktl.federation.run import FederationResult, federate_elsewhere
from ktl.federation.settings import FederationConfig
from ktl.files import Row
from ktl.flower.client_app import app
from ktl.flower.post import Post
from ktl.flower.roster import Roster
from ktl.flower.secure_fleet import fleet_of
from ktl.loop.clients import Clients
from ktl.methods.base import Problem
from ktl.wire import decode_pooled

FIRST = 10  # node of client 0

Silent = Callable[[int, Message], bool]


def grid_of(data: FederatedData, home: Path, silent: Silent = lambda node, message: False) -> DirectGrid:
    """A device for each client, with its own images: in `home`, those of before go on."""
    nodes: dict[int, dict[str, Any]] = {}
    for client, own in enumerate(data.clients):
        images = home / f"images-{client}"
        if not images.exists():
            save_partition(replace(data, clients=[own]), images)
        nodes[FIRST + client] = {"client": client, "data": str(images), "folder": str(home / f"device-{client}")}
    return DirectGrid(app, nodes, silent)


def run_over(grid: DirectGrid, config: FederationConfig, out: Path, timeout: float = 0.3) -> FederationResult:
    """A run into `out`; a node has `timeout` seconds for an answer."""
    post = Post(grid, timeout)
    roster = Roster(post, config)
    problem = roster.assemble(out, wait=0.0)

    @contextmanager
    def engine(
        config: FederationConfig, problem: Problem, active: Sequence[int], warm_starts: WarmStarts
    ) -> Iterator[Clients]:
        yield fleet_of(config, problem, post, roster.nodes, roster.begin(warm_starts), active)

    return federate_elsewhere(config, out, problem, engine)


def pooled_in(run: Path) -> ClassStatistics:
    """What was pooled in the first round of a FedKTL with the tiny generator, 3 classes and 16 latents."""
    return pooled(decode_pooled((run / "wire" / "round-001-pooled.safetensors").read_bytes(), 3, 16))


def without_seconds(rows: Sequence[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def states(folders: Sequence[Path], version: int) -> list[dict[str, torch.Tensor]]:
    """What each client's folder keeps of a version."""
    return [
        load_checkpoint(next(folder.rglob(f"client-{client}.{version}.safetensors")))[0]
        for client, folder in enumerate(folders)
    ]
