"""Clients that connect and do nothing, or go away: they cost little, and never anybody else's answer."""

from __future__ import annotations

import logging
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from support.waiting import eventually

from ktl.cloud.service import connections, crowd
from ktl.cloud.service.connections import RESERVED, ListeningSocket

from .conftest import Client, Running, Start, prototypes


def connected(url: str, sent: bytes = b"") -> socket.socket:
    address = urlsplit(url)
    client = socket.create_connection((address.hostname, address.port), timeout=10)
    client.sendall(sent)
    return client


def head(client: Client, path: str) -> bytes:
    token = client.http.headers["authorization"]
    return f"GET {path} HTTP/1.1\r\nHost: cloud\r\nAuthorization: {token}\r\n\r\n".encode()


def _answer(client: socket.socket) -> bytes:
    """A whole one of JSON: head and body may come apart."""
    received = b""
    while not received.endswith(b"}") and (part := client.recv(1000)):
        received += part
    return received


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1000) == b""
    except ConnectionResetError:
        return True


def crowd_of(cloud: Running) -> crowd.Crowd:
    [middleware] = [each for each in cloud.server.config.app.user_middleware if "crowd" in each.kwargs]  # type: ignore[union-attr]
    found: crowd.Crowd = middleware.kwargs["crowd"]
    return found


def test_silent_connections_are_probed(start: Start) -> None:
    with start() as cloud, connected(cloud.url):
        open_ones = cloud.server.server_state.connections
        assert eventually(lambda: len(open_ones) == 1)
        accepted = next(iter(open_ones)).transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 45


def test_half_a_head_and_silence_are_given_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with start() as cloud:
        silent, half = connected(cloud.url), connected(cloud.url, b"GET /v1 HTTP/1.1\r\nHost: ")
        used = connected(cloud.url, b"GET /healthz HTTP/1.1\r\nHost: cloud\r\n\r\n")
        assert _answer(used).startswith(b"HTTP/1.1 200 OK")
        used.sendall(b"GET ")  # and never the rest
        assert is_closed(silent)
        assert is_closed(half)
        assert is_closed(used)


def test_those_that_are_idle_longest_make_room(start: Start) -> None:
    with start(connections=3) as cloud, ExitStack() as open_ones:
        silent = [open_ones.enter_context(connected(cloud.url)) for _ in range(5)]
        assert is_closed(silent[0])
        assert is_closed(silent[1])
        assert httpx.get(f"{cloud.url}/healthz").status_code == 200


def test_a_full_server_still_says_that_it_is_well(start: Start) -> None:
    with start(connections=2) as cloud, ExitStack() as open_ones:
        client = cloud.client()
        session = client.opened(quorum=2)
        client.http.close()
        for _ in range(2):
            open_ones.enter_context(connected(cloud.url, head(client, f"{session}/rounds/1/pairs?wait=30")))
        assert eventually(lambda: crowd_of(cloud).waiting["edge-1"] == 2)
        assert httpx.get(f"{cloud.url}/healthz").status_code == 200
        assert httpx.get(f"{cloud.url}/readyz").status_code == 200
        refused = httpx.get(f"{cloud.url}/v1", headers=client.http.headers)
        assert (refused.status_code, refused.headers["retry-after"], refused.headers["connection"]) == (
            503,
            "5",
            "close",
        )
        assert RESERVED >= 3


def test_a_wait_ends_when_its_client_has_gone(cloud: Running) -> None:
    client = cloud.client("gone")
    session = client.opened(quorum=2)
    for path in (f"{session}/rounds/1/pairs?wait=30", f"{session}/events"):
        waiting = connected(cloud.url, head(client, path))
        assert eventually(lambda: crowd_of(cloud).waiting["gone"] == 1)
        waiting.close()
        assert eventually(lambda: crowd_of(cloud).waiting["gone"] == 0)
    assert eventually(lambda: crowd_of(cloud).at_once == 0)


def test_one_token_has_so_many_waits_and_others_have_theirs(start: Start) -> None:
    with start(token_waits=2) as cloud, ExitStack() as open_ones:
        greedy, modest = cloud.client("greedy"), cloud.client("modest")
        session = greedy.opened(quorum=2, member=["modest"])
        for _ in range(2):
            open_ones.enter_context(connected(cloud.url, head(greedy, f"{session}/rounds/1/pairs?wait=30")))
        assert eventually(lambda: crowd_of(cloud).waiting["greedy"] == 2)
        refused = greedy.pairs(session, wait=5)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["detail"] == "2 requests of this token are waiting; try again"
        assert greedy.pairs(session, wait=0).status_code == 202  # it does not wait
        assert modest.pairs(session, wait=0.1).status_code == 202


def test_those_who_wait_are_no_crowd(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "MOST_AT_ONCE", 3)
    with start() as cloud, ExitStack() as open_ones:
        client = cloud.client()
        session = client.opened(quorum=2)
        for count in range(1, 9):
            open_ones.enter_context(connected(cloud.url, head(client, f"{session}/rounds/1/pairs?wait=30")))
            assert eventually(lambda: crowd_of(cloud).waiting["edge-1"] == count)  # noqa: B023
        assert client.put(session, prototypes()).status_code == 201


@contextmanager
def few_descriptors(most: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_clients_are_turned_away_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    with ListeningSocket(socket.AF_INET, socket.SOCK_STREAM) as listening, ExitStack() as open_ones:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        clients = [open_ones.enter_context(socket.create_connection(listening.getsockname())) for _ in range(5)]
        with few_descriptors(clients[-1].fileno() + 1):
            for _ in clients:
                with pytest.raises(ConnectionAbortedError):
                    listening.accept()
        assert all(is_closed(client) for client in clients)
    [line] = caplog.records
    assert line.getMessage().startswith("no descriptor is left")
