"""examples/proxy/nginx.conf in front of a real server: what a client and the server see of each other through it."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.served import ServedCloud
from support.waiting import eventually

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "proxy" / "nginx.conf"
MAIN = """daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {example}
}}
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, tiny_generator_file: Path) -> Iterator[ServedCloud]:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    server = ServedCloud(tmp_path_factory.mktemp("served"), tiny_generator_file)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def through(cloud: ServedCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of the proxy, which asks this server and has a certificate of its own."""
    folder = tmp_path_factory.mktemp("proxy")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=proxy"
    files = [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        folder / "privkey.pem",
        "-out",
        folder / "fullchain.pem",
    ]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    example = EXAMPLE.read_text().replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    example = example.replace("/etc/ktl/", f"{folder}/").replace("127.0.0.1:8765", cloud.url.removeprefix("http://"))
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, example=example))
    proxy = subprocess.Popen(["nginx", "-c", folder / "nginx.conf"], stderr=subprocess.PIPE)
    trusting = ssl.create_default_context(cafile=folder / "fullchain.pem")
    try:
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trusting, trust_env=False) as client:
            deadline = time.monotonic() + 20
            while True:
                try:
                    client.get("/healthz").raise_for_status()
                    break
                except httpx.TransportError:
                    assert proxy.poll() is None, (folder / "nginx.log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield client
    finally:
        proxy.terminate()
        proxy.wait()


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
