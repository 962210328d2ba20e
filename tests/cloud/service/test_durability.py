"""What was acknowledged survives; what was begun is finished once."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from support.served import START_SECONDS, Command, first_tokens
from torch import Tensor

from ktl.cloud.embedded import EmbeddedCloud
from ktl.cloud.service.jobs import Claim
from ktl.errors import UsageError
from ktl.generators import load_generator
from ktl.generators.network import NetworkGenerator
from ktl.wire import encode_message

from .conftest import REQUEST, Client, Start, prototypes


@dataclass
class Process:
    """`ktl cloud serve` in a process of its own."""

    command: Command
    url: str
    tokens: dict[str, str]

    def client(self, token: str) -> Client:
        return Client(httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=90))


@contextmanager
def process(folder: Path, generator: Path, *options: str) -> Iterator[Process]:
    """The server in `folder`, which is where its default database is; ended at the end of the block."""
    arguments = ["cloud", "serve", "--port", "0", "--generator", generator, "--threads", "1", *options]
    command = Command(arguments, folder / "cloud.log", folder=folder)
    try:
        deadline = time.monotonic() + START_SECONDS
        while (found := re.search(r"^listening on (\S+)\n", command.output(), re.MULTILINE)) is None:
            assert command.process.is_alive(), command.output()
            assert time.monotonic() < deadline, command.output()
            time.sleep(0.01)
        yield Process(command, found[1], first_tokens(command.output(), folder))
    finally:
        command.kill()


def test_killed_while_it_draws_the_server_goes_on_and_asked_to_stop_it_ends_well(
    tmp_path: Path, tiny_generator_file: Path
) -> None:
    request = replace(REQUEST, alignment="published", pairs_per_class=50)
    embedded = EmbeddedCloud(load_generator(str(tiny_generator_file)))
    embedded.open(encode_message(request), [])
    with process(tmp_path, tiny_generator_file) as server:
        token = server.tokens["edge"]
        client = server.client(token)
        session = client.opened(request)
        assert client.put(session, prototypes(1), 1).status_code == 201
        assert client.pairs_at_last(session, 1) == embedded.exchange({0: prototypes(1)})
        assert client.put(session, prototypes(2), 2).status_code == 201
        time.sleep(0.1)
        server.command.kill()
    with process(tmp_path, tiny_generator_file) as server:
        assert server.tokens == {}  # made once only
        client = server.client(token)
        assert client.put(session, prototypes(2), 2).status_code == 200  # acknowledged, so it is there
        assert client.pairs_at_last(session, 2) == embedded.exchange({0: prototypes(2)})
        with client.http.stream("GET", f"{session}/events") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: round"
            os.kill(server.command.process.pid, signal.SIGTERM)
            assert [line for line in lines if line.startswith("event")] == []  # it ends, and is not broken off
        assert server.command.wait(10) == 0
    database = sqlite3.connect(tmp_path / "ktl-cloud.db")
    assert database.execute("SELECT count(*) FROM uploads").fetchone() == (2,)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
def test_a_server_that_compiles_and_multiplies_in_bfloat16_says_so_by_its_fingerprint(
    tmp_path: Path, tiny_generator_file: Path
) -> None:
    file = str(tiny_generator_file)
    same_way = load_generator(file, products="bfloat16", compiled=True)
    with process(tmp_path, tiny_generator_file, "--products", "bfloat16", "--compile") as server:
        told = server.client(server.tokens["edge"]).http.get("/v1").json()["generator"]["fingerprint"]
    assert told == same_way.fingerprint != load_generator(file).fingerprint


def test_a_round_that_was_being_drawn_is_drawn_again_but_kept_once(start: Start) -> None:
    with start() as cloud:
        client = cloud.client()
        session = client.opened()
        client.put(session, prototypes())
        first = client.pairs(session)
        store, session_id = cloud.service.store, session.rpartition("/")[2]
        seconds = store.round(session_id, 1).seconds
        assert seconds is not None
        late = Claim(session_id, 1, "edge-1", "a second server")
        assert not store.jobs.finish(late, b"other", 1, seconds)
        assert client.pairs(session).content == first.content
        store.jobs.fail(late, "too late to fail")
        store.jobs.put_back(late)
        assert store.round(session_id, 1).state == "done"


class Faulty(NetworkGenerator):
    """A generator whose first images fail, as they do when an accelerator's memory is short."""

    faults = 0

    def images(self, latents: Tensor) -> Tensor:
        if self.faults:
            self.faults -= 1
            raise RuntimeError("out of memory at 0xdeadbeef")
        return super().images(latents)


@pytest.mark.parametrize("faults", [1, 99])
def test_a_fault_of_the_generator_is_tried_again_and_harms_nobody_else(
    start: Start, tiny_generator: NetworkGenerator, faults: int
) -> None:
    with start() as cloud:
        client = cloud.client()
        before, after = client.opened(), client.opened()
        own = cloud.service.generator
        faulty = Faulty(tiny_generator.network, name=own.name, licence=own.licence, fingerprint=own.fingerprint)
        faulty.faults = faults
        own.generator = faulty
        client.put(before, prototypes())
        answer = client.pairs(before)
        assert answer.status_code == (200 if faults == 1 else 422)
        assert "deadbeef" not in answer.text if faults > 1 else len(answer.content) > 1000
        own.generator = tiny_generator
        client.put(after, prototypes())
        assert client.pairs(after).status_code == 200
        assert client.http.get("/readyz").status_code == 200


def test_a_server_that_stops_puts_back_what_it_was_drawing(start: Start) -> None:
    request = replace(REQUEST, pairs_per_class=1000, download_bytes=10_000_000)
    with start() as cloud:
        client = cloud.client()
        session = client.opened(request)
        client.put(session, prototypes())
        while client.http.get(f"{session}/rounds/1").json()["pairs"] == 0:
            pass
        authorization = client.http.headers["authorization"]
    with start() as cloud:
        again = Client(httpx.Client(base_url=cloud.url, headers={"Authorization": authorization}, timeout=60))
        assert again.pairs(session, wait=60).status_code == 200
        assert cloud.service.store.jobs.attempts(session.rpartition("/")[2], 1) == 1  # to stop is no failure


def test_the_generator_of_a_session_cannot_be_exchanged_under_it(start: Start) -> None:
    with start() as cloud:
        client = cloud.client()
        session = client.opened()
        token = client.http.headers["authorization"]
    with start(generator="builtin") as cloud:
        client = Client(httpx.Client(base_url=cloud.url, headers={"Authorization": token}, timeout=90))
        client.put(session, prototypes())
        failed = client.pairs(session)
        assert failed.status_code == 422
        assert "open a new session, or start the server as it was" in failed.json()["detail"]


def test_a_file_has_one_server_by_whatever_name(start: Start, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "link.db"
    other.symlink_to(tmp_path / "cloud.db")
    with start():
        for database in (tmp_path / "cloud.db", other):
            refused = pytest.raises(UsageError, match="another ktl cloud server is running on this database")
            with refused, start(database=f"sqlite:///{database}"):
                pass
        os.link(tmp_path / "cloud.db", tmp_path / "hard.db")
        with pytest.raises(UsageError, match="has 2 names"), start(database=f"sqlite:///{tmp_path / 'hard.db'}"):
            pass
        (tmp_path / "hard.db").unlink()
    with start() as cloud:
        assert cloud.client().http.get("/v1").status_code == 200


def test_the_database_is_nobody_elses_to_read(start: Start, tmp_path: Path) -> None:
    with start() as cloud:
        cloud.client().opened()
        modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.glob("cloud.db*")}
    assert set(modes.values()) == {"0o600"}
    assert os.path.exists(tmp_path / "cloud.db")
