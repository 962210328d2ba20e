"""Wrong input: one form of error, nothing kept, nothing broken."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from ktl.protocol import JSON, SAFETENSORS
from ktl.wire import encode_message

from .conftest import REQUEST, Running, prototypes

SUPPORTED = ["application/vnd.ktl.v1+json", "application/vnd.ktl.v1+safetensors"]


@pytest.mark.parametrize("told", ["application/vnd.ktl.v2+json", "application/json", "text/plain", SAFETENSORS])
def test_a_body_of_another_type_or_version_is_refused_with_those_that_are_spoken(cloud: Running, told: str) -> None:
    headers = {"Content-Type": told, "Idempotency-Key": "k"}
    refused = cloud.client().http.post("/v1/sessions", content=encode_message(REQUEST), headers=headers)
    assert (refused.status_code, refused.json()["supported"]) == (415, SUPPORTED)
    assert all(media_type in refused.json()["detail"] for media_type in SUPPORTED)


def test_a_client_that_accepts_nothing_that_is_sent_is_told_so(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened()
    refused = client.pairs(session, wait=0, Accept="application/vnd.ktl.v2+safetensors")
    assert (refused.status_code, refused.json()["supported"]) == (406, [SAFETENSORS])
    assert client.pairs(session, wait=0, Accept=f"text/html, {SAFETENSORS};q=0.9").status_code == 202


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (None, 200),
        ("", 200),
        (JSON, 200),
        ("application/*;q=0.1", 200),
        (f"text/html, {JSON.upper()}; q=0.5", 200),
        ("application/json", 406),
        (f"*/*, {JSON};q=0", 406),
        ("application/*;q=0, */*", 406),
        (f"{JSON};q=0.0", 406),
    ],
)
def test_what_a_client_accepts_is_read_by_the_closest_range(cloud: Running, accept: str | None, status: int) -> None:
    client = cloud.client()
    if accept is None:
        del client.http.headers["accept"]
    answer = client.http.get("/v1", headers={} if accept is None else {"Accept": accept})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({"Content-Digest": "sha-256=:YWJj:"}, 400, "damaged"),
        ({"Repr-Digest": "sha-512=:YWJj:"}, 400, "damaged"),
        ({"Content-Digest": "md5=:YWJj:"}, 201, ""),
        ({"Content-Digest": "sha-256=YWJj"}, 422, "invalid"),
    ],
)
def test_a_body_is_held_against_its_digests(cloud: Running, headers: dict[str, str], status: int, kind: str) -> None:
    client = cloud.client()
    answer = client.put(client.opened(), prototypes(), **headers)
    assert answer.status_code == status
    assert answer.json().get("type", "") == (f"urn:ktl:error:{kind}" if kind else "")


def test_every_error_has_one_form_and_carries_the_request_id(cloud: Running) -> None:
    client = cloud.client()
    for url, status, kind in (
        ("/v1/nothing", 404, "not-found"),
        ("/v1/sessions/../../etc/passwd", 404, "not-found"),
        ("/v1/sessions/xyz", 422, "invalid"),
        ("/metrics", 403, "forbidden"),
    ):
        refused = client.http.get(url, headers={"X-Request-Id": "mine-1"})
        body = refused.json()
        assert (refused.status_code, body["status"], body["type"]) == (status, status, f"urn:ktl:error:{kind}")
        assert refused.headers["content-type"] == "application/problem+json"
        assert body["request_id"] == refused.headers["x-request-id"] == "mine-1"
        assert set(body) == {"type", "title", "status", "detail", "request_id"}
    wrong = client.http.patch("/v1/sessions")
    assert (wrong.status_code, wrong.json()["type"]) == (405, "urn:ktl:error:method-not-allowed")
    assert wrong.headers["allow"]


def test_a_request_id_that_could_forge_log_lines_is_replaced(cloud: Running) -> None:
    answer = cloud.client().http.get("/v1", headers={"X-Request-Id": 'a" b'})
    assert answer.headers["x-request-id"].isalnum()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "cut short"),
        (b"\x80\x04\x95pickle", "claim a header"),
        (prototypes()[:-3], "damaged or cut short"),
        (prototypes(num_classes=4), "4 prototypes in a session of 3 classes"),
    ],
)
def test_what_are_no_prototypes_of_this_session_is_refused_and_not_kept(
    cloud: Running, payload: bytes, reason: str
) -> None:
    client = cloud.client()
    session = client.opened()
    refused = client.put(session, payload)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:ktl:error:invalid")
    assert reason in refused.json()["detail"]
    assert client.http.get(f"{session}/rounds/1").json()["edges_in"] == []


@pytest.mark.parametrize("edge", ["-a", "a b", "a" * 65, "%00", "é", "..%2f..%2fetc"])
def test_an_edge_name_is_never_more_than_a_name(cloud: Running, edge: str) -> None:
    client = cloud.client()
    refused = client.put(client.opened(), prototypes(), edge=edge)
    assert refused.status_code in (404, 422)


def send_raw(cloud: Running, head: str, *chunks: bytes) -> bytes:
    """The first bytes of the answer to a request that is written by hand."""
    where = urlsplit(cloud.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        answer = b""
        try:
            for chunk in chunks:
                connection.sendall(chunk)
            while b"\r\n\r\n" not in answer and (more := connection.recv(4096)):
                answer += more
        except ConnectionError:
            pass  # the server does not read on
        return answer


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened()
    token = client.http.headers["authorization"]
    head = (
        f"PUT {session}/rounds/1/prototypes/a HTTP/1.1\nHost: x\nAuthorization: {token}\nContent-Type: {SAFETENSORS}\n"
    )
    assert send_raw(cloud, f"{head}Content-Length: 99999999").startswith(b"HTTP/1.1 413")
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    assert send_raw(cloud, f"{head}Transfer-Encoding: chunked", *[chunk] * 8).startswith(b"HTTP/1.1 413")
    head = f"POST /v1/sessions HTTP/1.1\nHost: x\nAuthorization: {token}\nContent-Type: {JSON}\nIdempotency-Key: k\n"
    assert send_raw(cloud, f"{head}Content-Length: 20000").startswith(b"HTTP/1.1 413")


def test_a_body_that_breaks_off_keeps_nothing_and_harms_nobody(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened()
    head = (
        f"PUT {session}/rounds/1/prototypes/a HTTP/1.1\nHost: x\nAuthorization: {client.http.headers['authorization']}"
    )
    where = urlsplit(cloud.url)
    with socket.create_connection((where.hostname, where.port)) as connection:
        text = f"{head}\nContent-Type: {SAFETENSORS}\nContent-Length: 500\n\n".replace("\n", "\r\n")
        connection.sendall(text.encode() + prototypes()[:100])
    assert client.http.get(f"{session}/rounds/1").json()["edges_in"] == []
    assert client.put(session, prototypes()).status_code == 201
