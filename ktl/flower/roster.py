"""Which node has which client of a run: nodes say it themselves when they are first met."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from ktl.class_agreement import new_salt
from ktl.errors import CheckpointError, UsageError, WireError
from ktl.federation.node_folder import Setup
from ktl.federation.processes import WarmStarts
from ktl.federation.settings import FederationConfig
from ktl.files import write_atomically
from ktl.flower.post import Post
from ktl.flower.records import HELLO, PREPARE, Answer, Hello, Introduction, decoded, packed
from ktl.flower.sites import SAME_CLASSES, run_name, settings_for_nodes
from ktl.methods.base import Problem

FLEET_FILE = "fleet.json"  # of a run: who was introduced before its first round
POLL = 2.0  # seconds between two looks for new nodes

log = logging.getLogger("flwr")  # what `flwr log` shows

Fleet = Mapping[int, Introduction]  # by client


class Roster:
    """The connected nodes of a run by their clients' numbers, those included that come later or come back."""

    def __init__(self, post: Post, config: FederationConfig) -> None:
        self._post = post
        self._config = config
        self._introduced: dict[int, Introduction] = {}  # by node, in the order in which they were met
        self._prepared: set[int] = set()
        self._warnings: dict[int, str] = {}  # by node
        self._salt = new_salt()
        self._setup = Setup("", "", [], 0, 0)

    def assemble(self, out: Path, wait: float) -> Problem:
        """What the run is about, as the nodes of all its clients say, or as `out` keeps it, if it has begun.

        Raises UsageError where not all have come within `wait` seconds, or do not fit together; a run that goes on
        needs only one. Raises CheckpointError for a damaged file.
        """
        known = _kept(out / FLEET_FILE)
        if known:
            self._salt, _, _ = next(iter(known.values())).classes.partition(".")
        wanted = 1 if known else self._config.partition.clients
        started = time.monotonic()
        while len(met := self._met()) < wanted:
            if time.monotonic() > started + wait:
                raise UsageError(f"{len(met)} of {wanted} clients came within {wait:g} s: start their nodes, run again")
            time.sleep(POLL)
        if not known:
            known = {client: self._introduced[node] for client, node in sorted(met.items())}
            out.mkdir(parents=True, exist_ok=True)
            write_atomically(out / FLEET_FILE, msgspec.json.encode(list(known.values())))
        first = next(iter(known.values()))  # the others have as many channels and pixels, or are refused
        settled = self._config.settled(first.channels, first.image_size)
        self._setup = _setup(settled, known)
        return self._setup.problem(settled)

    def begin(self, warm_starts: WarmStarts) -> str:
        """Completes what nodes are told before their first round; returns the run's name."""
        self._setup = replace(self._setup, warm_starts=dict(warm_starts))
        return run_name(msgspec.msgpack.encode(self._setup))

    def nodes(self) -> dict[int, int]:
        """The node of each client that is connected and knows what the run is about."""
        met = self._met()
        contents = {node: (node, packed(self._setup)) for node in met.values() if node not in self._prepared}
        for node, answer in self._post.answers(PREPARE, contents).items():
            if isinstance(answer, str):
                self._warn(node, answer)
            else:
                self._prepared.add(node)
        return {client: node for client, node in met.items() if node in self._prepared}

    def _met(self) -> dict[int, int]:
        """The connected nodes by client, after new ones have said who they are; of two for one client the later one."""
        connected = set(self._post.grid.get_node_ids())
        hello = packed(Hello(settings_for_nodes(self._config), self._salt))
        contents = {node: (node, hello) for node in sorted(connected - self._introduced.keys())}
        for node, answer in self._post.answers(HELLO, contents).items():
            said = _introduction(answer)
            if isinstance(said, str):
                self._warn(node, said)
            else:
                log.info("client %d is at node %d", said.client, node)
                self._introduced[node] = said
        return {said.client: node for node, said in self._introduced.items() if node in connected}

    def _warn(self, node: int, why: str) -> None:
        if self._warnings.get(node) != why:
            log.warning("node %d cannot take part: %s", node, why)
        self._warnings[node] = why


def _introduction(answer: Answer | str) -> Introduction | str:
    """Who a node is, or what is wrong with what it said."""
    if isinstance(answer, str):
        return answer
    try:
        return decoded(answer.message, Introduction)
    except WireError as error:
        return str(error)


def _kept(file: Path) -> Fleet:
    """The introductions of a run that has begun, or none. Raises CheckpointError for a damaged file."""
    if not file.exists():
        return {}
    try:
        return {said.client: said for said in msgspec.json.decode(file.read_bytes(), type=list[Introduction])}
    except (OSError, msgspec.DecodeError, ValueError) as error:
        raise CheckpointError(f"{file} is damaged ({error}); start the run anew in another folder") from error


def _setup(config: FederationConfig, fleet: Fleet) -> Setup:
    """What all clients together are. Raises UsageError where numbers, classes, channels or sizes do not fit."""
    if sorted(fleet) != list(range(len(fleet))):
        raise UsageError(f"the nodes have clients {sorted(fleet)}: number them from 0 to {len(fleet) - 1}")
    first = fleet[0]
    for client, said in fleet.items():
        if (said.classes, len(said.counts)) != (first.classes, len(first.counts)):
            raise UsageError(f"client {client} has other classes than client 0, or in another order: {SAME_CLASSES}")
        if (said.channels, said.image_size) != (first.channels, first.image_size):
            raise UsageError(
                f"client {client} has images of {said.image_size} pixels in {said.channels} channels, client 0 of "
                f"{first.image_size} in {first.channels}: set image_size, and let all be grey or all in colour"
            )
    counts = [fleet[client].counts for client in sorted(fleet)]
    return Setup(settings_for_nodes(config), first.classes, counts, first.channels, first.image_size)
