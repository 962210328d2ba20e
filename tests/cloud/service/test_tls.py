"""TLS: which versions, whose certificates, and reading them again."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from support.served import ServedCloud
from support.waiting import eventually

from ktl.cloud.service.settings import load_settings
from ktl.cloud.service.tls import reload_certificate, tls_context
from ktl.edge.network.ping import ping
from ktl.edge.network.transport import Access, Transport
from ktl.errors import CloudUnreachable, UsageError

from .conftest import Start

Make = Callable[[str], tuple[Path, Path]]


@pytest.fixture
def certificate(tmp_path: Path) -> Make:
    """certificate(name) makes a certificate of 127.0.0.1 that signs itself, and its key."""

    def make(name: str) -> tuple[Path, Path]:
        cert, key = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN={name}"
        names = ["-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*command.split(), *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
        return cert, key

    return make


def test_a_certificate_makes_it_https(start: Start, certificate: Make) -> None:
    cert, key = certificate("cloud")
    with start(tls_cert=cert, tls_key=key) as cloud:
        assert cloud.url.startswith("https://")
        answer = httpx.get(f"{cloud.url}/healthz", verify=ssl.create_default_context(cafile=str(cert)))
        assert (answer.status_code, answer.headers["strict-transport-security"]) == (200, "max-age=31536000")
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            httpx.get(f"{cloud.url}/healthz")


def test_a_server_that_stops_does_not_wait_for_idle_clients(start: Start, certificate: Make) -> None:
    cert, key = certificate("cloud")
    with ExitStack() as clients:
        with start(tls_cert=cert, tls_key=key) as cloud:
            for _ in range(3):
                http = clients.enter_context(httpx.Client(verify=ssl.create_default_context(cafile=str(cert))))
                assert http.get(f"{cloud.url}/healthz").status_code == 200
            began = time.monotonic()
        assert time.monotonic() - began < 10  # of 20 in which it would end them by force


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_versions_and_ciphers_without_forward_secrecy_are_refused(start: Start, certificate: Make) -> None:
    cert, key = certificate("cloud")
    with start(tls_cert=cert, tls_key=key) as cloud:
        for version, ciphers, agreed in (
            (ssl.TLSVersion.TLSv1_3, "ALL", True),
            (ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM", True),
            (ssl.TLSVersion.TLSv1_2, "AES256-SHA256:ECDHE-ECDSA-AES256-SHA384", False),
            (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", False),
        ):
            client = ssl.create_default_context(cafile=str(cert))
            client.set_ciphers(ciphers)
            client.minimum_version = client.maximum_version = version
            try:
                with httpx.Client(verify=client) as http:
                    assert http.get(f"{cloud.url}/healthz").status_code == 200
                assert agreed, version
            except httpx.ConnectError:
                assert not agreed, version


def test_clients_without_the_authoritys_certificate_are_turned_away(
    start: Start, certificate: Make, tmp_path: Path
) -> None:
    (cert, key), (client_cert, client_key), (other_cert, other_key) = map(certificate, ("cloud", "client", "other"))
    with start(tls_cert=cert, tls_key=key, client_ca=client_cert) as cloud:
        for own, admitted in ((None, False), ((other_cert, other_key), False), ((client_cert, client_key), True)):
            context = ssl.create_default_context(cafile=str(cert))
            if own is not None:
                context.load_cert_chain(*own)
            with httpx.Client(verify=context) as http:
                if admitted:
                    assert http.get(f"{cloud.url}/healthz").status_code == 200
                else:
                    with pytest.raises(httpx.TransportError):
                        http.get(f"{cloud.url}/healthz")
        (both := tmp_path / "both.pem").write_bytes(client_cert.read_bytes() + client_key.read_bytes())
        access = Access(cloud.url, cloud.service.tokens.create("cam-7", "edge"), ca_file=cert, patience=0.0)
        assert ping(Transport(replace(access, client_cert=both)))["token"]["name"] == "cam-7"
        with pytest.raises(CloudUnreachable):
            ping(Transport(access))
    with pytest.raises(UsageError, match=r"the client certificate \S+other.pem cannot be used"):
        Transport(replace(access, client_cert=other_cert))  # without its key


@pytest.mark.parametrize("damage", ["of another key", "no certificate"])
def test_a_pair_that_cannot_be_used_is_refused_before_anything_begins(
    certificate: Make, tmp_path: Path, tiny_generator_file: Path, damage: str
) -> None:
    (cert, _), (_, other_key) = certificate("one"), certificate("two")
    if damage == "no certificate":
        cert.write_text("none")
    with pytest.raises(RuntimeError) as ended:
        ServedCloud(tmp_path, tiny_generator_file, "--tls-cert", cert, "--tls-key", other_key)
    printed = json.loads(str(ended.value).removeprefix("the server did not start: "))  # one line
    assert printed["message"] == "the server cannot run"
    assert printed["reason"].startswith(f"--tls-cert {cert} and --tls-key {other_key} cannot be used together: ")
    assert not [*tmp_path.glob("*.db")]


def test_an_encrypted_key_asks_nobody_for_a_password(certificate: Make) -> None:
    cert, key = certificate("one")
    locked = key.with_name("locked.key")
    command = ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(UsageError, match="is encrypted: give a key without a password"):
        tls_context(load_settings({"tls_cert": cert, "tls_key": locked}))


def test_a_pair_that_cannot_be_used_leaves_the_old_one_in_place(certificate: Make) -> None:
    (cert, key), (other_cert, _) = certificate("one"), certificate("two")
    settings = load_settings({"tls_cert": cert, "tls_key": key})
    context = tls_context(settings)
    assert context is not None
    was = cert.read_bytes()
    cert.write_bytes(other_cert.read_bytes())
    reload_certificate(context, settings)
    assert served(context) == ssl.PEM_cert_to_DER_cert(was.decode())


def served(context: ssl.SSLContext) -> bytes:
    """The certificate that a server with this context shows."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def test_hangup_reads_the_certificate_again(certificate: Make, tmp_path: Path, tiny_generator_file: Path) -> None:
    cert, key = certificate("cloud")
    (folder := tmp_path / "served").mkdir()
    server = ServedCloud(folder, tiny_generator_file, "--tls-cert", cert, "--tls-key", key, authority=cert)
    try:
        port = int(server.url.rpartition(":")[2])
        first = ssl.get_server_certificate(("127.0.0.1", port))
        new_cert, new_key = certificate("renewed")
        os.replace(new_key, key)
        os.replace(new_cert, cert)
        assert ssl.get_server_certificate(("127.0.0.1", port)) == first
        os.kill(server.pid, signal.SIGHUP)
        assert eventually(lambda: ssl.get_server_certificate(("127.0.0.1", port)) != first, 20)
        assert eventually(lambda: bool(list(server.logged("the certificate was read again"))))
    finally:
        assert server.stop() == 0
    lines = server.log.read_text().splitlines()
    printed = ("first ", "listening on ", "next: ")
    assert all(line.startswith(("{", *printed)) for line in lines), lines  # nothing else, at the end either
    assert re.findall(r"ktl_\w+", server.log.read_text()) == []
    assert oct((folder / "cloud.edge.token").stat().st_mode)[-3:] == "600"
