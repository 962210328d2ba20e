"""examples/proxy/nginx.conf in front of a real server: what a client and the server see of each other through it."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import nginx
from support.served import ServedCloud
from support.waiting import eventually

pytestmark = pytest.mark.skipif(nginx.why_not() is not None, reason=str(nginx.why_not()))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, tiny_generator_file: Path) -> Iterator[ServedCloud]:
    server = ServedCloud(tmp_path_factory.mktemp("served"), tiny_generator_file)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def through(cloud: ServedCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of the proxy, which asks this server and has a certificate of its own."""
    folder = tmp_path_factory.mktemp("proxy")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=proxy"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    trusting = ssl.create_default_context(cafile=certificate)
    with (
        nginx.nginx(folder, cloud.url, certificate=(certificate, key)) as url,
        httpx.Client(base_url=url, verify=trusting, trust_env=False) as client,
    ):
        yield client


def test_the_server_knows_that_its_client_came_over_tls(cloud: ServedCloud, through: httpx.Client) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Request-Id": "through-the-proxy"}
    login = through.post("/login", data={"token": cloud.tokens["admin"]}, headers=forged)
    assert login.status_code == 303
    assert "Secure" in login.headers["set-cookie"]

    def lines() -> list[dict[str, Any]]:  # a request is logged after its answer
        return [each for each in cloud.logged("request") if each["request_id"] == "through-the-proxy"]

    assert eventually(lambda: bool(lines()))
    assert [line["client"] for line in lines()] == ["127.0.0.1"]


def test_events_pass_the_proxy_at_once(cloud: ServedCloud, through: httpx.Client) -> None:
    through.post("/login", data={"token": cloud.tokens["admin"]})
    with through.stream("GET", "/page/events", timeout=5) as stream:  # far below nginx's buffer, and without an end
        assert next(stream.iter_lines()).startswith("data: ")
