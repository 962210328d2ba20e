"""A served cloud with a session called hall, and devices that hold a saved partition's clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from support.served import Command, ServedCloud

from ktl.data.settings import DataConfig
from ktl.edge.joining import joined
from ktl.edge.network.joined import JoinedSession
from ktl.edge.network.named_sessions import find_session
from ktl.edge.network.transport import Access, Transport
from ktl.edge.session_run import SessionRun
from ktl.edge.settings import RunConfig
from ktl.federation.settings import FederationConfig
from ktl.files import Row
from ktl.loop.folder import RunFolder
from ktl.loop.named_session import NamedSession
from ktl.loop.rounds import Observer
from ktl.loop.settings import CloudConfig

TURN = Lock()  # torch's random state is one for a process: its devices compute one at a time


class TakingTurns(JoinedSession):
    """A device that lets others of its process compute while it waits for the cloud."""

    def exchange(self, uploads: dict[int, bytes]) -> bytes:
        with given_up(TURN):
            return super().exchange(uploads)

    def pool(self, uploads: dict[int, bytes]) -> bytes:
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


@dataclass
class Hall:
    """The cloud, its address, and the folder of its devices' tokens and of what they hold."""

    server: ServedCloud
    tokens: Path
    parts: Path

    @property
    def names(self) -> list[str]:
        return sorted(file.stem for file in self.tokens.glob("*.token"))

    def access(self, name: str) -> Access:
        return Access(self.server.url, (self.tokens / f"{name}.token").read_text().strip(), patience=30.0)

    def create(self, log: Path, name: str = "hall", *options: object) -> None:
        """By `ktl cloud session create`."""
        admin = log.with_suffix(".token")
        admin.write_text(self.server.tokens["admin"])
        where = ["--cloud", self.server.url, "--token-file", admin, "--classes", self.parts / "classes.txt"]
        made = Command(["cloud", "session", "create", "--name", name, *where, *options], log)
        assert made.wait(60) == 0, made.output()

    def device(self, name: str, federation: FederationConfig, out: Path, session: str = "hall") -> list[Row]:
        """All rounds of a device, with the images of the client of its number: the rows of its metrics."""
        access, client = self.access(name), self.names.index(name)
        config = RunConfig(
            model=federation.models,
            training=federation.training,
            transfer=federation.transfer,
            data=DataConfig(federation.source, client=client),
            cloud=CloudConfig(url=access.url),
            threads=1,
        )
        found = NamedSession.read(find_session(Transport(access), session))
        with TURN:
            config, task = joined(config, found, None)
            run = SessionRun(config, task, out, TakingTurns(access, session, out))
            folder = RunFolder(out)
            folder.start(config, task.manifest)
            return run.loop(folder, Observer()).run()
