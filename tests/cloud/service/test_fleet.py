"""Several servers on one PostgreSQL: a session is the same whichever of them a request comes to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import httpx
import pytest

from ktl.cloud.embedded import EmbeddedCloud
from ktl.generators.network import NetworkGenerator
from ktl.wire import encode_message

from .conftest import REQUEST, Client, Running, Start, prototypes

PUBLISHED = replace(
    REQUEST, alignment="published", alignment_settings={"epochs": 10}
)  # its state lives on through a session's rounds


@pytest.fixture
def fleet(start: Start, postgresql: str) -> Iterator[list[Running]]:
    """Two servers on one database."""
    with ExitStack() as stack:
        yield [stack.enter_context(start(database=postgresql)) for _ in range(2)]


def at(server: Running, client: Client) -> Client:
    """The same caller, whose requests go to another server."""
    return Client(httpx.Client(base_url=server.url, headers=client.http.headers, timeout=30))


def test_edges_at_different_servers_get_the_bits_of_one(fleet: list[Running], tiny_generator: NetworkGenerator) -> None:
    embedded = EmbeddedCloud(tiny_generator)
    embedded.open(encode_message(PUBLISHED), [])
    first = fleet[0].client()
    second = at(fleet[1], first)
    session = first.opened(PUBLISHED, quorum=2)
    with ThreadPoolExecutor() as threads:
        for number in range(1, 5):
            polling = threads.submit(first.pairs_at_last, session, number)
            assert first.put(session, prototypes(number), number, "a").status_code == 201
            assert second.put(session, prototypes(-number), number, "b").status_code == 201
            expected = embedded.exchange({0: prototypes(number), 1: prototypes(-number)})
            assert polling.result() == second.pairs(session, number).content == expected


def test_who_waits_at_one_server_hears_at_once_what_happens_at_another(fleet: list[Running]) -> None:
    here = fleet[0].client()
    there = at(fleet[1], here)
    session = here.opened()
    with here.http.stream("GET", f"{session}/events") as stream:
        lines = stream.iter_lines()
        began = time.monotonic()
        there.put(session, prototypes())
        assert any('"state":"done"' in line for line in lines)
        there.http.delete(session)
        assert any(line == "event: deleted" for line in lines)
        assert time.monotonic() - began < 10  # a stream looks by itself each 15 s


@pytest.mark.slow
def test_a_server_that_leaves_hands_its_rounds_to_the_others(
    start: Start, postgresql: str, tiny_generator: NetworkGenerator
) -> None:
    long = replace(PUBLISHED, alignment_settings={"epochs": 50, "batch": 2}, num_classes=20)
    embedded = EmbeddedCloud(tiny_generator)
    embedded.open(encode_message(long), [])
    with ExitStack() as stack:
        with start(database=postgresql) as leaving:
            client = leaving.client()
            session = client.opened(long)
            client.put(session, prototypes(0, 20))
            while client.http.get(f"{session}/rounds/1").json()["state"] != "drawing":
                time.sleep(0.01)
            staying = at(stack.enter_context(start(database=postgresql)), client)
        assert staying.pairs_at_last(session) == embedded.exchange({0: prototypes(0, 20)})


def test_openings_with_one_key_at_two_servers_open_one_session(fleet: list[Running]) -> None:
    clients = [fleet[0].client()]
    clients.append(at(fleet[1], clients[0]))
    with ThreadPoolExecutor() as threads:
        openings = [threads.submit(client.open, key=f"k{key}") for key in range(5) for client in clients]
        answers = [opening.result() for opening in openings]
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201] * 5
    assert len({answer.headers["location"] for answer in answers}) == 5
