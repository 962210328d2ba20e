"""What a device keeps of each run of a fleet over Flower that it is a node of; read here without Flower.

A folder for each run: `setup.msgpack`, the images as they were when the run began in `data/`, and `clients/`, which has
the client's last two versions, the pairs of each round, and beside each version the message that it predicts by.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
import torch
from msgspec import Meta

from ktl.data.fewshot import FewShotTask
from ktl.data.partition_files import load_partition
from ktl.errors import CheckpointError, UsageError, WireError
from ktl.federation.problem import problem_of
from ktl.federation.settings import FederationConfig
from ktl.files import replace_atomically
from ktl.loop.edges import client_file
from ktl.methods.base import Problem
from ktl.methods.message import Message, message_bytes, read_message
from ktl.protocol import CLASS_DIGEST
from ktl.run_folder import SETUP
from ktl.settings import from_table

Count = Annotated[int, Meta(ge=0, lt=2**31)]
ClassDigest = Annotated[str, Meta(pattern=CLASS_DIGEST)]

PREDICTS_BY = re.compile(r"client-(\d+)\.(\d+)\.message")
PAIRS = re.compile(r"round-(\d+)\.message")


@dataclass(frozen=True)
class Setup:
    """What all nodes know before the first round: the run's settings as JSON, what they agree on, all nodes' counts."""

    settings: str
    classes: ClassDigest
    counts: list[list[Count]]
    channels: Count
    image_size: Count  # pixels
    warm_starts: dict[str, bytes] = field(default_factory=dict)

    def problem(self, config: FederationConfig) -> Problem:
        """What a method is made for; `config`: the settings, read."""
        return problem_of(config, torch.tensor(self.counts), self.channels, self.image_size)


@dataclass(frozen=True)
class NodeRun:
    """One run in a device's folder."""

    path: Path

    @property
    def name(self) -> str:
        """16 hexadecimal digits, unless somebody has given the folder another name."""
        return self.path.name.rpartition("-")[2]

    @property
    def clients(self) -> Path:
        """Where what the client has learnt lies."""
        return self.path / "clients"

    @property
    def data(self) -> Path:
        """A saved partition of the device's own images."""
        return self.path / "data"

    def setup(self) -> Setup:
        """Raises CheckpointError for a missing or damaged one."""
        try:
            return msgspec.msgpack.decode((self.path / SETUP).read_bytes(), type=Setup)
        except (OSError, msgspec.DecodeError, ValueError) as error:
            raise CheckpointError(f"{self.path / SETUP} is damaged ({error}); join a new run") from error

    def config(self) -> FederationConfig:
        """The run's settings, without the cloud's generator and space. Raises CheckpointError."""
        try:
            return from_table(FederationConfig, json.loads(self.setup().settings))
        except (ValueError, UsageError) as error:
            raise CheckpointError(f"{self.path / SETUP} is from another ktl ({error})") from error

    def task(self) -> FewShotTask:
        """The device's images. Raises DataError."""
        return load_partition(self.data).task(0)


def latest_version(folder: Path) -> tuple[NodeRun, int, int]:
    """Run, client and version of what was learnt last in a device's folder, or in that of one of its runs.

    Raises CheckpointError where nothing was learnt.
    """
    runs = [file.parent for pattern in (SETUP, f"*/{SETUP}") for file in folder.glob(pattern)]
    found = [
        (file.stat().st_mtime, int(name[2]), int(name[1]), run)
        for run in runs
        for file in (run / "clients").glob("*.message")
        if (name := PREDICTS_BY.fullmatch(file.name)) and file.with_suffix(".safetensors").exists()
    ]
    if not found:
        raise CheckpointError(f"{folder} has no model yet: its device has ended no round of a run")
    _, version, client, run = max(found)
    return NodeRun(run), client, version


def keep_last(clients: Path, client: int, version: int, message: Message) -> None:
    """Keeps what a version of a client predicts by, and no longer what versions do that are gone."""
    file, content = client_file(clients, client, version).with_suffix(".message"), message_bytes(message)
    replace_atomically(file, lambda path: path.write_bytes(content))
    for other in clients.glob(f"client-{client}.*.message"):
        if not other.with_suffix(".safetensors").exists():
            other.unlink()


def read_last(clients: Path, client: int, version: int) -> Message:
    """What `keep_last` kept. Raises CheckpointError for a damaged file."""
    file = client_file(clients, client, version).with_suffix(".message")
    try:
        return read_message(file.read_bytes())
    except (OSError, WireError) as error:
        raise CheckpointError(f"{file} is damaged ({error}); take part in a further round") from error


def keep_pairs(clients: Path, round_index: int, message: Message) -> None:
    """Keeps a round's pairs, which the client learns from in later rounds too."""
    folder = clients / "messages"
    folder.mkdir(parents=True, exist_ok=True)
    content = message_bytes(message)  # the clients of one machine share the folder, and write the same bytes
    file = folder / f"round-{round_index + 1:03d}.message"
    replace_atomically(file, lambda path: path.write_bytes(content), lasting=False)


def kept_pairs(clients: Path) -> Mapping[int, Message]:
    """What `keep_pairs` kept, by round from 0."""
    found = ((PAIRS.fullmatch(file.name), file) for file in (clients / "messages").glob("*.message"))
    return {int(name[1]) - 1: read_message(file.read_bytes()) for name, file in found if name is not None}
