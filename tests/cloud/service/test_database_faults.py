"""A database that fails while a round is drawn, and is cured: it ends, once, with the bits of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event
from support import postgres
from support.waiting import eventually
from torch import Tensor

from ktl.cloud.embedded import EmbeddedCloud
from ktl.cloud.service.database import Database
from ktl.generators.network import NetworkGenerator
from ktl.wire import encode_message

from .conftest import REQUEST, Client, Running, Start, prototypes

CURED_SECONDS = 60.0
MANY = replace(REQUEST, pairs_per_class=100)  # more than free pages of a file have room for


class Gate(NetworkGenerator):
    """A generator that waits before it draws until it may."""

    def __init__(self, generator: NetworkGenerator, of: Any) -> None:
        super().__init__(generator.network, name=of.name, licence=of.licence, fingerprint=of.fingerprint)
        self.reached, self.open = threading.Event(), threading.Event()

    def images(self, latents: Tensor) -> Tensor:
        self.reached.set()
        assert self.open.wait(CURED_SECONDS)
        return super().images(latents)


@pytest.fixture
def expected(tiny_generator: NetworkGenerator) -> bytes:
    """The pairs of a round that nothing disturbs."""
    embedded = EmbeddedCloud(tiny_generator)
    embedded.open(encode_message(MANY), [])
    return embedded.exchange({0: prototypes()})


@pytest.fixture(scope="module")
def fragile() -> Iterator[postgres.Postgres]:
    """A PostgreSQL that may be harmed."""
    if reason := postgres.why_not():
        pytest.skip(reason)
    with postgres.postgres_server() as server:
        yield server


@contextmanager
def in_mid_round(cloud: Running, tiny_generator: NetworkGenerator) -> Iterator[tuple[Client, str]]:
    """A session whose first round is being drawn; that goes on when the block ends."""
    gate = Gate(tiny_generator, cloud.service.generator)
    cloud.service.generator.generator = gate
    client = cloud.client()
    session = client.opened(MANY)
    assert client.put(session, prototypes()).status_code == 201
    assert gate.reached.wait(20)
    yield client, session
    gate.open.set()


def check_kept_once(cloud: Running, session: str) -> None:
    jobs, name = cloud.service.store.jobs, session.rpartition("/")[2]
    assert jobs.attempts(name, 1) == 1
    assert jobs.claim("another server") is None


@pytest.mark.parametrize("mode", ["immediate", pytest.param("fast", marks=pytest.mark.slow)], ids=["killed", "stopped"])
def test_postgresql_gone_in_mid_round_and_back(
    start: Start, fragile: postgres.Postgres, tiny_generator: NetworkGenerator, expected: bytes, mode: str
) -> None:
    with start(database=fragile.url) as cloud:
        with in_mid_round(cloud, tiny_generator) as (client, session):
            fragile.stop(mode)
        try:
            assert eventually(cloud.service.worker.leases.waits_for_database, CURED_SECONDS)
            assert httpx.get(f"{cloud.url}/readyz").status_code == 503
            assert httpx.get(f"{cloud.url}/healthz").status_code == 200
        finally:
            fragile.start()
        assert client.pairs_at_last(session) == expected
        check_kept_once(cloud, session)
        assert eventually(lambda: httpx.get(f"{cloud.url}/readyz").status_code == 200, CURED_SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [3, 40])
def test_postgresql_hangs_in_mid_round(
    start: Start, fragile: postgres.Postgres, tiny_generator: NetworkGenerator, expected: bytes, seconds: float
) -> None:
    with start(database=fragile.url) as cloud:
        with in_mid_round(cloud, tiny_generator) as (client, session):
            fragile.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert httpx.get(f"{cloud.url}/readyz", timeout=10).status_code == 503
            assert time.monotonic() - began < 3.5
            time.sleep(seconds)
        finally:
            fragile.signal(signal.SIGCONT)
        assert client.pairs_at_last(session) == expected


@contextmanager
def full(database: Database) -> Iterator[None]:
    """SQLite may not grow: what it says and does is as on a full disk."""
    with database.read() as rows:
        pages = rows.connection().exec_driver_sql("PRAGMA page_count").scalar()

    def bound(connection: Any, record: Any, proxy: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    def unbound(connection: Any, record: Any, proxy: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={2**30}")

    event.listen(database.engine, "checkout", bound)
    yield
    event.remove(database.engine, "checkout", bound)
    event.listen(database.engine, "checkout", unbound)


def test_a_full_disk_in_mid_round(start: Start, tiny_generator: NetworkGenerator, expected: bytes) -> None:
    with start() as cloud:
        with in_mid_round(cloud, tiny_generator) as (client, session):
            disk = full(cloud.service.database)
            disk.__enter__()
        assert eventually(cloud.service.worker.leases.waits_for_database, CURED_SECONDS)
        assert httpx.get(f"{cloud.url}/readyz").status_code == 503
        disk.__exit__(None, None, None)
        assert client.pairs_at_last(session) == expected
        check_kept_once(cloud, session)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "ktl-tests", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(file: Path) -> None:
    """Leaves no room on its disk."""
    with open(file, "wb", buffering=0) as others, suppress(OSError):
        while True:
            others.write(os.urandom(2**12))


@pytest.mark.slow
def test_sessions_can_be_deleted_from_a_full_disk(start: Start, small_disk: Path) -> None:
    request = replace(REQUEST, pairs_per_class=1000, download_bytes=4_000_000)
    with start(database=f"sqlite:///{small_disk / 'cloud.db'}") as cloud:
        client = cloud.client()
        session = client.opened(request)
        client.put(session, prototypes())
        size = len(client.pairs(session, wait=60).content)
        fill(small_disk / "others")
        assert eventually(lambda: httpx.get(f"{cloud.url}/readyz").status_code == 503, CURED_SECONDS)
        assert client.http.delete(session).status_code == 204
        assert client.http.get(session).status_code == 404
        assert eventually(lambda: httpx.get(f"{cloud.url}/readyz").status_code == 200, CURED_SECONDS)
        assert size > 500_000
        assert client.open(request).status_code == 201
