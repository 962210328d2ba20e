"""Where an edge may send its token: a cloud's address, told from other services, over connections it can trust."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from support.served import ServedCloud

from ktl.edge.network.ping import ping
from ktl.edge.network.transport import Access, Transport, read_token
from ktl.errors import CloudError, UsageError


class _Other(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = {"/json/v1": b"{}", "/list/v1": b"[]", "/old/v1": b'{"protocols": [9], "token": {"name": "x"}}'}
        moved = self.path.startswith("/moved")
        self.send_response(301 if moved else 404 if self.path.startswith("/none") else 200)
        self.end_headers()
        self.wfile.write(body.get(self.path, b"<html>welcome</html>"))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def other_service() -> Iterator[str]:
    """Something else that speaks HTTP."""
    server = HTTPServer(("127.0.0.1", 0), _Other)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/html", r"sent no JSON .*: is it a ktl cloud\?"),
        ("/list", "sent JSON that is no object"),
        ("/json", "not as a ktl cloud does: check the address"),
        ("/none", "answered 404, not as a ktl cloud does: check the address"),
        ("/moved", r"redirects elsewhere \(301\): give the cloud's own address"),
        ("/old", r"speaks protocols \[9\], this ktl 1: update the older"),
    ],
)
def test_something_that_is_no_cloud_is_told_apart(other_service: str, path: str, message: str) -> None:
    with pytest.raises(CloudError, match=message):
        ping(Transport(Access(other_service + path, "token", patience=1.0)))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://192.0.2.1:8765", "would send the token unencrypted: give https://, or --insecure"),
        ("ftp://cloud", "is no cloud's address: give https://"),
        ("https://user:secret@cloud", "is no cloud's address"),
        ("cloud:8765", "is no cloud's address"),
        ("http://[::1", "is no address"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Access(url, "token")


def test_plain_http_is_allowed_on_this_machine_and_where_it_is_asked_for() -> None:
    for url in ("http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"):
        assert Access(url, "token").url == url
    assert Access("http://192.0.2.1:8765", "token", insecure=True).insecure


def test_tokens_and_authorities_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("  ktl_abc \n")
    assert read_token(tmp_path / "token") == "ktl_abc"
    (tmp_path / "empty").write_text("\n")
    for name, message in (("empty", "is empty"), ("missing", "cannot be read")):
        with pytest.raises(UsageError, match=message):
            read_token(tmp_path / name)
    with pytest.raises(UsageError, match="has characters that no token has"):
        Access("https://cloud", "two words")
    with pytest.raises(UsageError, match=r"holds no certificates .*; give a PEM file"):
        Transport(Access("https://cloud", "token", ca_file=tmp_path / "token"))


def test_a_certificate_must_be_trusted(tmp_path: Path, tiny_generator_file: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    try:
        command = ["openssl", "req", *kind, *subject, "-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed: it makes the certificate")
    server = ServedCloud(
        tmp_path, tiny_generator_file, "--tls-cert", certificate, "--tls-key", key, authority=certificate
    )
    try:
        assert server.url.startswith("https://")
        access = Access(server.url, server.tokens["edge"], patience=20.0)
        with pytest.raises(CloudError, match=r"certificate of https://\S+ is not trusted .* --ca-file"):
            ping(Transport(access))
        trusting = Transport(replace(access, ca_file=certificate))
        assert ping(trusting)["token"] == {"name": "edge", "scope": "edge"}
        trusting.close()
    finally:
        server.stop()
