"""Prototypes up, pairs down, over HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ktl.cloud.embedded import EmbeddedCloud
from ktl.cloud.knowledge import KnowledgeCloud
from ktl.encoders.small import SmallEncoderConfig, SmallEncoderNetwork, save_small_encoder
from ktl.generators import load_generator
from ktl.generators.network import NetworkGenerator
from ktl.seeds import initialising
from ktl.spaces import SPACES, encoder, space_of
from ktl.wire import decode_prototypes, encode_message, encode_pairs

from .conftest import REQUEST, Running, Start, prototypes


@pytest.mark.parametrize("alignment", ["robust", "published"])
def test_every_byte_is_the_embedded_clouds(cloud: Running, tiny_generator: NetworkGenerator, alignment: str) -> None:
    request = replace(REQUEST, alignment=alignment)
    embedded = EmbeddedCloud(replace_name(tiny_generator, cloud))
    client = cloud.client()
    opened = client.open(request)
    assert opened.content == embedded.open(encode_message(request), [])
    session = opened.headers["location"]
    for round_ in (1, 2):
        assert client.put(session, prototypes(round_), round_).status_code == 201
        assert client.pairs(session, round_).content == embedded.exchange({0: prototypes(round_)})


def test_a_pools_bytes_are_the_embedded_clouds(start: Start, photographs: Path) -> None:
    source = f"pool:{photographs}"
    embedded = EmbeddedCloud(load_generator(source))
    with start(generator=source) as running:
        assert running.service.generator.together
        client = running.client()
        opened = client.open(REQUEST)
        assert opened.content == embedded.open(encode_message(REQUEST), [])
        assert opened.json()["licence"] == "CC0 1.0 Universal"
        session = opened.headers["location"]
        for round_ in (1, 2):
            client.put(session, prototypes(round_), round_)
            assert client.pairs(session, round_).content == embedded.exchange({0: prototypes(round_)})


def test_in_an_encoders_space_too_every_byte_is_the_embedded_clouds(
    start: Start, tiny_generator: NetworkGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "FITTED_ON", 150)
    with initialising(0, "encoder"):
        network = SmallEncoderNetwork(SmallEncoderConfig(image_size=16, widths=(4, 8), dimension=24))
    save_small_encoder(tmp_path / "small.safetensors", network, licence="CC0-1.0")
    space = f"encoder?dimension=8&encoder={tmp_path / 'small.safetensors'}"
    with start(space=space) as server:
        client, generator = server.client(), replace_name(tiny_generator, server)
        embedded = EmbeddedCloud(generator, space_of(generator, SPACES.parse(space)))
        opened = client.open(REQUEST)
        assert opened.content == embedded.open(encode_message(REQUEST), [])
        client.put(opened.headers["location"], prototypes())
        assert client.pairs(opened.headers["location"]).content == embedded.exchange({0: prototypes()})


def replace_name(generator: NetworkGenerator, cloud: Running) -> NetworkGenerator:
    """The same network under the name that the server gave it: its file's."""
    return NetworkGenerator(
        generator.network,
        name=cloud.service.generator.name,
        licence=generator.licence,
        fingerprint=generator.fingerprint,
    )


def test_an_upload_is_idempotent_and_other_bytes_are_a_conflict(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened()
    first = client.put(session, prototypes(1))
    assert (first.status_code, first.json()["edges_in"]) == (201, ["cam-1"])
    assert client.put(session, prototypes(1)).status_code == 200
    before = client.pairs(session).content
    refused = client.put(session, prototypes(2))
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:ktl:error:conflict")
    assert "sent other prototypes for round 1 before" in refused.json()["detail"]
    assert client.pairs(session).content == before


def test_a_round_opens_when_the_one_before_is_done(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened()
    early = client.put(session, prototypes(2), round_=2)
    assert (early.status_code, early.json()["type"]) == (409, "urn:ktl:error:round-not-open")
    assert client.pairs(session, round_=2, wait=0).status_code == 404
    waiting = client.pairs(session, wait=0)
    assert (waiting.status_code, waiting.json()["state"], waiting.headers["retry-after"]) == (202, "collecting", "1")
    client.put(session, prototypes(1))
    client.pairs(session)
    assert client.put(session, prototypes(2), round_=2).status_code == 201


def test_a_cut_download_is_gone_on_with(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened()
    client.put(session, prototypes())
    whole = client.pairs(session)
    digest = base64.b64encode(hashlib.sha256(whole.content).digest()).decode()
    assert whole.headers["repr-digest"] == f"sha-256=:{digest}:"
    etag, size = whole.headers["etag"], len(whole.content)
    assert int(whole.headers["content-length"]) == size

    for header, start, end in (("bytes=100-", 100, size), ("bytes=5-9", 5, 10), ("bytes=-7", size - 7, size)):
        part = client.pairs(session, Range=header, **{"If-Range": etag})
        assert (part.status_code, part.content) == (206, whole.content[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert part.headers["repr-digest"] == whole.headers["repr-digest"]
    assert client.pairs(session, Range="bytes=5-9", **{"If-Range": '"other"'}).content == whole.content
    for ignored in ("bytes=9-5", "bytes=1-2,4-5", "lines=1-2", "bytes=-", "bytes=x"):
        assert client.pairs(session, Range=ignored).status_code == 200
    beyond = client.pairs(session, Range=f"bytes={size}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    same = client.pairs(session, **{"If-None-Match": f'"x", {etag}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)


def test_pairs_larger_than_a_piece_come_whole_and_in_parts(cloud: Running) -> None:
    request = replace(REQUEST, image_size=64, image_format="png", pairs_per_class=100, download_bytes=1_000_000)
    client = cloud.client()
    session = client.opened(request)
    client.put(session, prototypes())
    whole = client.pairs(session).content
    assert len(whole) > 900_000
    for start, end in ((0, 262_144), (262_143, 262_145), (262_144, 524_288), (300_000, 900_000)):
        assert client.pairs(session, Range=f"bytes={start}-{end - 1}").content == whole[start:end]


def test_head_is_get_without_the_body(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened()
    client.put(session, prototypes())
    whole = client.pairs(session)
    for url in (session, f"{session}/rounds/1", f"{session}/rounds/1/pairs", f"{session}/etf", "/v1", "/healthz"):
        head, get = client.http.head(url), client.http.get(url)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-length", "content-type", "etag", "repr-digest"):
            assert head.headers.get(name) == get.headers.get(name), (url, name)
    assert int(client.http.head(f"{session}/rounds/1/pairs").headers["content-length"]) == len(whole.content)
    assert client.http.head(f"{session}/rounds/7").status_code == 404
    events = client.http.head(f"{session}/events")  # a stream without end: it is not waited for
    assert (events.status_code, events.headers["x-accel-buffering"]) == (200, "no")
    assert client.http.head("/v1/sessions/xyz").status_code == 422


def test_a_quorum_of_edges_is_pooled_in_the_order_of_their_names(
    cloud: Running, tiny_generator: NetworkGenerator
) -> None:
    request = replace(REQUEST, alignment="published")  # its result depends on the order
    names = ["b", "a-2", "a-10"]
    clients = {name: cloud.client(name) for name in names}
    session = clients["b"].opened(request, quorum=3, member=["a-2", "a-10"])
    states = [clients[name].put(session, prototypes(i), edge=name).json() for i, name in enumerate(names)]
    assert [state["edges_missing"] for state in states] == [2, 1, 0]
    assert [state["state"] for state in states] == ["collecting", "collecting", "queued"]
    own = KnowledgeCloud(tiny_generator, request)
    pooled = [decode_prototypes(prototypes(names.index(name)), 3) for name in sorted(names)]
    expected = encode_pairs(own.pairs(pooled), request)
    for client in clients.values():
        assert client.pairs(session).content == expected


def test_a_late_edge_is_told_and_gets_the_pairs_all_the_same(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened(quorum=2)
    for round_, edges in ((1, ["i", "j"]), (2, ["i", "k"])):
        for i, edge in enumerate(edges):
            client.put(session, prototypes(i), round_, edge)
        assert client.pairs(session, round_).status_code == 200
    late = client.put(session, prototypes(1), round_=2, edge="j")
    assert (late.status_code, late.json()["type"]) == (409, "urn:ktl:error:round-closed")
    state = client.http.get(f"{session}/rounds/2").json()
    assert (state["edges_in"], state["edges_late"]) == (["i", "k"], ["j"])


def test_a_deadline_closes_a_round_with_the_edges_that_are_in(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened(quorum=5, deadline=0.1)
    state = client.put(session, prototypes()).json()
    assert (state["state"], state["edges_missing"]) == ("collecting", 4)
    assert state["closes_at"] is not None
    assert client.pairs(session).status_code == 200
    assert client.http.get(f"{session}/rounds/1").json()["edges_in"] == ["cam-1"]


def test_a_budget_that_holds_no_pair_fails_the_round_with_the_reason(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened(replace(REQUEST, download_bytes=10))
    client.put(session, prototypes())
    failed = client.pairs(session)
    assert (failed.status_code, failed.json()["type"]) == (422, "urn:ktl:error:round-failed")
    assert failed.json()["detail"] == ("a download of 10 bytes holds no image-vector pair: raise --download-budget")


def test_a_failed_round_is_its_sessions_last(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened(replace(REQUEST, download_bytes=10))
    client.put(session, prototypes())
    assert client.pairs(session).status_code == 422
    after = [
        client.put(session, prototypes(), round_=2),
        client.pairs(session, 2, wait=0),
        client.http.get(f"{session}/rounds/3"),
        client.http.get(f"{session}/rounds/1/pooled"),
    ]
    assert {(each.status_code, each.json()["type"]) for each in after} == {(422, "urn:ktl:error:round-failed")}
    assert client.put(session, prototypes()).json()["state"] == "failed"


def test_events_tell_every_state_of_a_round(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened(quorum=2)
    client.put(session, prototypes(1), edge="i")
    told: list[tuple[str, str]] = []
    follower = cloud.client()  # another token of the same name
    uploaded = threading.Event()
    with follower.http.stream("GET", f"{session}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            if not line.startswith("data: "):
                continue
            told.append((kind, json.loads(line.removeprefix("data: ")).get("state", "")))
            if not uploaded.is_set():
                client.put(session, prototypes(2), edge="j")
                uploaded.set()
            if told[-1] == ("round", "done"):
                assert client.http.delete(session).status_code == 204
    assert told[0] == ("round", "collecting")
    assert told[-2:] == [("round", "done"), ("deleted", "")]


def test_two_sessions_that_are_drawn_together_get_the_bits_they_get_alone(
    start: Start, tiny_generator: NetworkGenerator
) -> None:
    request = replace(REQUEST, pairs_per_class=100, download_bytes=1_000_000)
    with start(jobs=8) as cloud:
        assert cloud.service.generator.together
        client = cloud.client()
        sessions = [client.opened(replace(request, seed=seed), quorum=1) for seed in range(8)]
        for session in sessions:
            client.put(session, prototypes())
        together = [client.pairs(session).content for session in sessions]
    alone = EmbeddedCloud(tiny_generator)
    for seed, payload in enumerate(together):
        alone.open(encode_message(replace(request, seed=seed)), [])
        assert alone.exchange({0: prototypes()}) == payload
