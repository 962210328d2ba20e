"""A real server on loopback with a real SQLite file, and clients with tokens of their own."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from support import postgres

from ktl.cloud.service.context import Service
from ktl.cloud.service.database import Database
from ktl.cloud.service.server import Server, server_on
from ktl.cloud.service.settings import load_settings
from ktl.protocol import JSON, SAFETENSORS
from ktl.prototypes import class_prototypes
from ktl.seeds import stream
from ktl.wire import SessionRequest, encode_message, encode_prototypes

REQUEST = SessionRequest(
    num_classes=3,
    image_size=16,
    channels=3,
    pairs_per_class=4,
    download_bytes=100_000,
    alignment="robust",
    image_format="webp",
    seed=3,
)


def prototypes(seed: int = 0, num_classes: int = 3) -> bytes:
    """What an edge would send; another seed, another edge or round."""
    embeddings = torch.randn(3 * num_classes, num_classes, generator=stream(seed, "embeddings"))
    return encode_prototypes(class_prototypes(embeddings, torch.arange(num_classes).repeat_interleave(3)))


@dataclass
class Client:
    """The requests of the protocol with one token."""

    http: httpx.Client

    def open(self, request: SessionRequest = REQUEST, key: str | None = None, **parameters: Any) -> httpx.Response:
        headers = {"Content-Type": JSON, "Idempotency-Key": key or secrets.token_hex(8)}
        return self.http.post("/v1/sessions", content=encode_message(request), headers=headers, params=parameters)

    def opened(self, request: SessionRequest = REQUEST, **parameters: Any) -> str:
        """The path of a new session."""
        answer = self.open(request, **parameters)
        assert answer.status_code == 201, answer.text
        return answer.headers["location"]

    def put(self, session: str, payload: bytes, round_: int = 1, edge: str = "cam-1", **headers: str) -> httpx.Response:
        url = f"{session}/rounds/{round_}/prototypes/{edge}"
        return self.http.put(url, content=payload, headers={"Content-Type": SAFETENSORS} | headers)

    def pairs(self, session: str, round_: int = 1, wait: float = 60, **headers: str) -> httpx.Response:
        return self.http.get(f"{session}/rounds/{round_}/pairs", params={"wait": wait}, headers=headers)

    def pairs_at_last(self, session: str, round_: int = 1) -> bytes:
        """As soon as they are there, however often the server says that it is busy; within a minute."""
        until = time.monotonic() + 60
        while (answer := self.pairs(session, round_, wait=5)).status_code != 200:
            assert answer.status_code in (202, 503), answer.text
            assert time.monotonic() < until
            time.sleep(0.05)
        return answer.content


@dataclass
class Running:
    """A server that runs in a thread of the tests."""

    server: Server
    service: Service
    url: str

    def client(self, name: str = "edge-1", scope: str = "edge") -> Client:
        token = self.service.tokens.create(name, scope)
        return Client(httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=90))


@contextmanager
def running(**flags: Any) -> Iterator[Running]:
    """A server on a free port, until the block ends."""
    settings = load_settings({"port": 0, "rate": 10_000.0, "threads": 1} | flags)
    with server_on(settings, lambda tokens: None) as server:
        thread = threading.Thread(target=server.run_until_stopped)
        thread.start()
        while not server.started and thread.is_alive():
            thread.join(0.01)
        try:
            yield Running(server, server.config.app.state.service, server.url)
        finally:
            server.should_exit = True
            thread.join()


Start = Callable[..., AbstractContextManager[Running]]


@pytest.fixture
def start(tmp_path: Path, tiny_generator_file: Path) -> Start:
    """start(**settings) runs a server on the test's own database; again, and it is the same database."""

    def begin(**flags: Any) -> AbstractContextManager[Running]:
        own = {"database": f"sqlite:///{tmp_path / 'cloud.db'}", "generator": str(tiny_generator_file)}
        return running(**(own | flags))

    return begin


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, tiny_generator_file: Path) -> Iterator[Running]:
    """One server for a file's tests, which open sessions of their own."""
    database = f"sqlite:///{tmp_path_factory.mktemp('cloud') / 'cloud.db'}"
    with running(database=database, generator=str(tiny_generator_file)) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of an empty database on a PostgreSQL server that is started for the tests."""
    reason = postgres.why_not()
    if reason is not None:
        pytest.skip(reason)
    with postgres.postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An upgraded database of each kind, empty."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'store.db'}")
    else:
        database = Database(request.getfixturevalue("postgresql"))
        with database.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    database.upgrade()
    yield database
    database.engine.dispose()
