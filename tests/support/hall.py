"""Fixtures: a served cloud, tokens of five devices, and what each of them holds: a client of a saved partition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import pytest
from support.served import Command, ServedCloud

from ktl.data import load_dataset
from ktl.data.partition import share_out
from ktl.data.partition_files import save_partition
from ktl.data.settings import DataConfig, PartitionConfig
from ktl.edge.joining import joined
from ktl.edge.network.joined import JoinedSession
from ktl.edge.network.named_sessions import find_session
from ktl.edge.network.transport import Access, Transport
from ktl.edge.session_run import SessionRun
from ktl.edge.settings import RunConfig
from ktl.federation.settings import FederationConfig
from ktl.files import Row
from ktl.learning.settings import RECIPES
from ktl.loop.folder import RunFolder
from ktl.loop.named_session import NamedSession
from ktl.loop.rounds import Observer
from ktl.loop.settings import CloudConfig
from ktl.objectives import TRANSFERS

DEVICES = [f"cam-{number}" for number in range(1, 6)]
TURN = Lock()  # torch's random state is one for a process: its devices compute one at a time


class TakingTurns(JoinedSession):
    """A device that lets others of its process compute while it waits for the cloud."""

    def exchange(self, uploads: Mapping[int, bytes]) -> bytes:
        with given_up(TURN):
            return super().exchange(uploads)

    def pool(self, uploads: Mapping[int, bytes]) -> bytes:
        with given_up(TURN):
            return super().pool(uploads)


@contextmanager
def given_up(lock: Lock) -> Iterator[None]:
    """Inside, the lock that is held is free."""
    lock.release()
    try:
        yield
    finally:
        lock.acquire()


@dataclass(frozen=True)
class Hall:
    """The cloud, and folders of its devices' tokens (NAME.token, admin.token) and of the partition."""

    server: ServedCloud
    tokens: Path
    parts: Path
    federation: FederationConfig  # what the devices do, in one process

    def access(self, name: str) -> Access:
        return Access(self.server.url, (self.tokens / f"{name}.token").read_text().strip(), patience=60.0)

    def create(self, log: Path, name: str, *options: object) -> None:
        """By `ktl cloud session create`, for what the federation does."""
        where = ["--cloud", self.server.url, "--token-file", self.tokens / "admin.token"]
        terms = ["--image-size", 16, "--pairs-per-class", 8, "--seed", 3, "--classes", self.parts / "classes.txt"]
        made = Command(["cloud", "session", "create", "--name", name, *where, *terms, *options], log)
        assert made.wait(60) == 0, made.output()

    def device(
        self,
        session: str,
        name: str,
        out: Path,
        on_round: Callable[[Row], None] = lambda row: None,
        on_step: Callable[[int], None] = lambda round_number: None,
    ) -> list[Row]:
        """All rounds of a device, which holds the client of its number: the rows of its metrics."""
        access, federation = self.access(name), self.federation
        config = RunConfig(
            model=federation.models,
            training=federation.training,
            transfer=federation.transfer,
            data=DataConfig(federation.source, client=DEVICES.index(name)),
            cloud=CloudConfig(url=access.url),
            threads=1,
        )
        observer = Observer(on_step=lambda index, span, step, loss: on_step(index + 1), on_round=on_round)
        found = NamedSession.read(find_session(Transport(access), session))
        with TURN:
            config, task = joined(config, found, None)
            run = SessionRun(config, task, out, TakingTurns(access, session, out))
            folder = RunFolder(out)
            folder.start(config, task.manifest)
            return run.loop(folder, observer).run()


@pytest.fixture(scope="session")
def hall(tiny_generator_file: Path, small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    folder = tmp_path_factory.mktemp("hall")
    tokens, parts = folder / "tokens", folder / "parts"
    shares = PartitionConfig("dirichlet", clients=len(DEVICES), beta=1.0)
    save_partition(share_out(load_dataset(str(small_bundle)), shares, seed=0), parts)
    federation = FederationConfig(
        source=str(parts),
        rounds=2,
        training=replace(RECIPES["tuned"], steps=6),
        transfer=TRANSFERS.choose("image-vector", warmup_steps=4, warmup_batch=16, joint_batch=8),
        cloud=CloudConfig(str(tiny_generator_file), "pooled", pairs_per_class=8),
        seed=3,
    )
    server = ServedCloud(folder, tiny_generator_file)
    made = Command(
        ["cloud", "token", "create", *DEVICES, "--into", tokens, "--database", server.database], folder / "made.log"
    )
    assert made.wait(60) == 0, made.output()
    (tokens / "admin.token").write_text(server.tokens["admin"])
    yield Hall(server, tokens, parts, federation)
    assert server.stop() == 0
