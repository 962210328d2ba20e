"""The cloud on Ray Serve: sessions get the bits of an embedded cloud, drawn together or not, whatever dies."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil
import pytest

pytest.importorskip("ray.serve", reason="needs the extra ktl[ray]")

from sqlalchemy import func, select
from support import postgres
from support.noting import FOLDER
from support.ray_processes import logged, served_on_ray
from support.served import ServedCloud
from support.two_edges import drawn_alone, drawn_by
from support.waiting import eventually

from ktl.cloud.service.database import Database
from ktl.cloud.service.models import DONE, DRAWING, Round, Upload
from ktl.cloud.service.tokens import Tokens
from ktl.edge.network.transport import Access
from ktl.generators import load_generator
from ktl.spaces import SPACES, space_of
from ktl.spaces.base import SharedSpace
from ktl.wire import SessionRequest

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
OWNERS = 4
AT_START = 4  # batches by which a replica finds out whether images have the same bits in a batch
SPACE = "encoder?dimension=16"  # whose vectors the replicas make
PAIRS = REQUEST.num_classes * REQUEST.pairs_per_class


@dataclass(frozen=True)
class OnRay:
    """A server, its database, and a token of each of several owners."""

    cloud: ServedCloud
    database: Database
    tokens: list[str]
    certificate: Path

    def batches(self) -> list[tuple[int, int]]:
        """How many images the generator was asked for, each time, and in which process."""
        lines = [line.split() for line in (self.cloud.folder / "batches").read_text().splitlines()]
        return [(int(images), int(process)) for images, process in lines]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, no batch that is begun ends."""
        hold = self.cloud.folder / "hold"
        hold.touch()
        try:
            yield
        finally:
            hold.unlink()

    def drawn(self, number: int, rounds: int) -> list[bytes]:
        """The pairs of a session of an owner."""
        access = Access(self.cloud.url, self.tokens[number % OWNERS], ca_file=self.certificate)
        request, run = replace(REQUEST, seed=number), self.cloud.folder / f"run-{number}-{time.monotonic_ns()}"
        return drawn_by(access, run, request, f"{number}", rounds)

    def count(self, state: str) -> int:
        """Rounds in a state."""
        with self.database.read() as rows:
            return rows.scalar(select(func.count()).where(Round.state == state)) or 0


def alone(number: int, rounds: int, space: SharedSpace | None = None) -> list[bytes]:
    """What `OnRay.drawn` must be."""
    return drawn_alone(load_generator("builtin"), replace(REQUEST, seed=number), f"{number}", rounds, space)


@contextmanager
def running(folder: Path, *options: object) -> Iterator[OnRay]:
    """A server with TLS on an empty database, until the block ends."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=ray"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*new.split(), *files], check=True, capture_output=True)
    options = ("--tls-cert", certificate, "--tls-key", key, *options)
    if reason := postgres.why_not():
        pytest.skip(reason)
    # Ray's processes find modules by PYTHONPATH alone
    environment = {FOLDER: str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    with postgres.postgres() as url:
        cloud = served_on_ray(
            folder, "support.noting:Noting", url, *options, environment=environment, authority=certificate
        )
        database = Database(url)
        tokens = [Tokens(database).create(f"owner-{number}", "edge") for number in range(OWNERS)]
        yield OnRay(cloud, database, tokens, certificate)
        database.engine.dispose()
        assert cloud.stop(60) == 0


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    with running(tmp_path_factory.mktemp("ray")) as server:
        yield server


def test_a_session_has_the_bits_of_the_embedded_cloud(on_ray: OnRay) -> None:
    assert on_ray.drawn(5, rounds=2) == alone(5, rounds=2)


def test_sessions_at_once_are_drawn_together_to_the_bits_of_each_alone(on_ray: OnRay) -> None:
    before = len(on_ray.batches())
    with ThreadPoolExecutor(OWNERS) as threads:
        with on_ray.held():
            sessions = threads.map(lambda number: on_ray.drawn(number, rounds=1), range(OWNERS))
            assert eventually(lambda: on_ray.count(DRAWING) == OWNERS, 60)
            time.sleep(1)  # until the last of them wants its images
        assert list(sessions) == [alone(number, rounds=1) for number in range(OWNERS)]
    sizes = [images for images, _ in on_ray.batches()[before:]]
    assert sum(sizes) == OWNERS * PAIRS
    assert max(sizes) > PAIRS


def test_tokens_and_limits_are_those_of_the_service(on_ray: OnRay) -> None:
    trusting = ssl.create_default_context(cafile=on_ray.certificate)
    with httpx.Client(base_url=on_ray.cloud.url, verify=trusting, trust_env=False) as http:
        assert http.get("/readyz").json()["status"] == "ok"
        refused = http.get("/v1/sessions")
        assert (refused.status_code, refused.json()["type"]) == (401, "urn:ktl:error:unauthorised")
        known = {"Authorization": f"Bearer {on_ray.tokens[0]}", "Content-Type": "application/json"}
        invalid = http.post("/v1/sessions", headers=known, content=b"{}")
        assert (invalid.status_code, invalid.json()["type"]) == (422, "urn:ktl:error:invalid")


def kill_one_that_draws(server: OnRay) -> bool:
    """Whether it did: only where two replicas have drawn for others, and one of them has a batch in its hands."""
    batches = Counter(process for _, process in server.batches())
    ready = {process for process, count in batches.items() if count > AT_START and psutil.pid_exists(process)}
    if len(ready) < 2:
        return False
    with server.held():
        before = len(server.batches())
        if not eventually(lambda: len(server.batches()) > before, 5):
            return False
        _, drawing = server.batches()[before]
        if drawing in ready:
            os.kill(drawing, signal.SIGKILL)
    return drawing in ready


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_replicas_that_are_killed_cost_no_round_and_no_client_an_error(tmp_path: Path) -> None:
    sessions, rounds, over, kills = 50, 3, threading.Event(), []
    with running(tmp_path, "--generator-replicas", 2, "--space", SPACE) as server:

        def kill_those_that_draw() -> None:
            while not over.wait(1.0):
                kills.append(kill_one_that_draws(server))

        killer = threading.Thread(target=kill_those_that_draw)
        killer.start()
        try:
            with ThreadPoolExecutor(8) as threads:
                drawn = list(threads.map(lambda number: server.drawn(number, rounds), range(sessions)))
        finally:
            over.set()
            killer.join()
        space = space_of(load_generator("builtin"), SPACES.parse(SPACE))
        assert drawn == [alone(number, rounds, space) for number in range(sessions)]
        assert server.count(DONE) == sessions * rounds
        with server.database.read() as rows:
            assert rows.scalar(select(func.count()).select_from(Upload)) == 2 * sessions * rounds
        statuses = {record["status"] for record in logged(server.cloud, "request")}
        died = len(list(logged(server.cloud, "a generator replica died")))
    assert died >= sum(kills) >= 2
    assert statuses <= {200, 201, 202}
