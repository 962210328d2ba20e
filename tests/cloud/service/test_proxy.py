"""Behind nginx with the documented configuration: nothing is lost on the way, and who does nothing is given up."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from support import nginx
from support.waiting import eventually

from .conftest import Client, Running, prototypes
from .test_connections import connected, crowd_of, head, is_closed

pytestmark = pytest.mark.skipif(nginx.why_not() is not None, reason=str(nginx.why_not()))


@pytest.fixture(scope="module")
def proxied(cloud: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The proxy's URL."""
    with nginx.nginx(tmp_path_factory.mktemp("nginx"), cloud.url, head_seconds=1) as url:
        yield url


def through(cloud: Running, proxied: str, name: str) -> Client:
    client = cloud.client(name)
    client.http = httpx.Client(base_url=proxied, headers=client.http.headers, timeout=30)
    return client


def test_a_session_is_the_same_through_it(cloud: Running, proxied: str) -> None:
    near, far = cloud.client("near"), through(cloud, proxied, "far")
    session, direct = far.opened(member=["near"]), near.opened()
    assert far.put(session, prototypes()).status_code == 201
    near.put(direct, prototypes())
    assert far.pairs(session).content == near.pairs(direct).content
    part = far.pairs(session, Range="bytes=10-19")
    assert (part.status_code, len(part.content)) == (206, 10)
    with far.http.stream("GET", f"{session}/events") as stream:
        assert next(stream.iter_lines()) == "event: round"
    assert far.http.get("/metrics").status_code == 403


def test_half_a_head_is_given_up_by_the_proxy(proxied: str) -> None:
    began = time.monotonic()
    assert is_closed(connected(proxied, b"GET /v1 HTTP/1.1\r\nHost: "))
    assert time.monotonic() - began < 4


def test_a_wait_ends_in_the_server_when_the_client_of_the_proxy_has_gone(cloud: Running, proxied: str) -> None:
    client = through(cloud, proxied, "leaving")
    session = client.opened(quorum=2)
    waiting = connected(proxied, head(client, f"{session}/rounds/1/pairs?wait=30"))
    assert eventually(lambda: crowd_of(cloud).waiting["leaving"] == 1)
    waiting.close()
    assert eventually(lambda: crowd_of(cloud).waiting["leaving"] == 0)
