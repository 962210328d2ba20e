"""Class statistics up, those of all edges down, over HTTP."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import httpx
import pytest
import torch
import torch.nn.functional as F

from ktl.class_statistics import ClassStatistics, class_statistics
from ktl.cloud.embedded import EmbeddedCloud
from ktl.generators.network import NetworkGenerator
from ktl.protocol import SAFETENSORS
from ktl.prototypes import bare_prototypes
from ktl.seeds import stream
from ktl.wire import decode_pooled, encode_message, encode_prototypes, encode_statistics

from .conftest import REQUEST, Client, Running, Start, prototypes
from .test_rounds import replace_name

POOLED = replace(REQUEST, alignment="pooled", pairs_per_class=2)
BARE = encode_prototypes(bare_prototypes(torch.tensor([0, 1, 2, 2])))


@pytest.fixture(scope="module")
def dimension(tiny_generator: NetworkGenerator) -> int:
    return tiny_generator.latent_dim


def statistics(seed: int, dimension: int) -> bytes:
    """Of three classes, two images each, at points drawn by seed."""
    points = F.normalize(torch.randn(6, dimension, generator=stream(seed, "points")), dim=1)
    return encode_statistics(class_statistics(points, torch.tensor([0, 0, 1, 1, 2, 2])))


def total(payload: bytes, dimension: int) -> ClassStatistics:
    """What a cloud sends back, of edges that are all of one architecture."""
    (found,) = decode_pooled(payload, 3, dimension)
    return found


def put(client: Client, session: str, payload: bytes, edge: str = "cam-1", round_: int = 1) -> httpx.Response:
    url = f"{session}/rounds/{round_}/statistics/{edge}"
    return client.http.put(url, content=payload, headers={"Content-Type": SAFETENSORS})


def pooled(client: Client, session: str, round_: int = 1, wait: float = 20) -> httpx.Response:
    return client.http.get(f"{session}/rounds/{round_}/pooled", params={"wait": wait})


def drawn(client: Client, session: str, edges: tuple[str, ...] = ("cam-1",), round_: int = 1) -> None:
    for edge in edges:
        assert client.put(session, BARE, round_, edge).status_code == 201
    assert client.pairs(session, round_).status_code == 200


def test_every_byte_is_the_embedded_clouds_and_pairs_are_drawn_by_what_was_pooled(
    cloud: Running, tiny_generator: NetworkGenerator, dimension: int
) -> None:
    embedded, client = EmbeddedCloud(replace_name(tiny_generator, cloud)), cloud.client()
    session = client.opened(POOLED, quorum=2)
    embedded.open(encode_message(POOLED), [])
    for round_ in (1, 2, 3):
        for edge in ("cam-1", "cam-2"):
            client.put(session, BARE, round_, edge)
        pairs = client.pairs(session, round_).content
        assert pairs == embedded.exchange({0: BARE, 1: BARE})
        sent = {0: statistics(round_, dimension), 1: statistics(10 + round_, dimension)}
        for client_number, payload in sent.items():
            assert put(client, session, payload, f"cam-{client_number + 1}", round_).status_code == 201
        answer = pooled(client, session, round_)
        assert (answer.status_code, answer.content) == (200, embedded.pool(sent))
    unguided = EmbeddedCloud(replace_name(tiny_generator, cloud))
    unguided.open(encode_message(POOLED), [{0: BARE, 1: BARE}] * 2)
    assert pairs != unguided.exchange({0: BARE, 1: BARE})


def test_statistics_are_pooled_when_all_that_sent_prototypes_have_sent_theirs(cloud: Running, dimension: int) -> None:
    client = cloud.client()
    session = client.opened(POOLED, quorum=2)
    early = put(client, session, statistics(0, dimension))
    assert (early.status_code, early.json()["type"]) == (409, "urn:ktl:error:round-not-open")
    drawn(client, session, ("cam-1", "cam-2"))
    first = put(client, session, statistics(0, dimension))
    assert (first.status_code, first.json()["edges_in"], first.json()["edges_missing"]) == (201, ["cam-1"], 1)
    assert put(client, session, statistics(0, dimension)).status_code == 200
    refused = put(client, session, statistics(1, dimension))
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:ktl:error:conflict")
    waiting = pooled(client, session, wait=0)
    assert (waiting.status_code, waiting.json()["edges_missing"]) == (202, 1)
    answers: list[httpx.Response] = []
    waiter = threading.Thread(target=lambda: answers.append(pooled(client, session)))
    waiter.start()
    put(client, session, statistics(1, dimension), "cam-2")
    waiter.join(20)
    assert answers[0].content == pooled(client, session).content
    counts = total(answers[0].content, dimension).counts
    assert counts.tolist() == [4, 4, 4]
    late = put(client, session, statistics(2, dimension), "cam-3")
    assert (late.status_code, late.json()["type"]) == (409, "urn:ktl:error:round-closed")
    part = client.http.get(f"{session}/rounds/1/pooled", headers={"Range": "bytes=10-"})
    assert (part.status_code, part.content) == (206, answers[0].content[10:])


def test_a_deadline_pools_what_is_in(cloud: Running, dimension: int) -> None:
    client = cloud.client()
    session = client.opened(POOLED, quorum=2, deadline=0.5)
    drawn(client, session, ("cam-1", "cam-2"))
    put(client, session, statistics(0, dimension))
    began = time.monotonic()
    answer = pooled(client, session)
    assert time.monotonic() - began < 10
    assert total(answer.content, dimension).counts.tolist() == [2, 2, 2]
    assert put(client, session, statistics(1, dimension), "cam-2").json()["type"] == "urn:ktl:error:round-closed"
    pooling = client.http.get(f"{session}/rounds/1").json()["pooling"]
    assert (pooling["edges_in"], pooling["edges_missing"], pooling["edges_late"]) == (["cam-1"], 0, ["cam-2"])


def test_an_edge_replaces_what_it_sent_before_and_is_forgotten_after_the_sessions_memory(
    cloud: Running, dimension: int
) -> None:
    client = cloud.client()
    counts = []
    for memory in (1, 10):
        session = client.opened(replace(POOLED, memory=memory))
        for round_, edge in enumerate(("cam-1", "cam-2", "cam-2"), start=1):
            drawn(client, session, (edge,), round_)
            put(client, session, statistics(round_, dimension), edge, round_)
            counts.append(int(total(pooled(client, session, round_).content, dimension).counts.sum()))
    assert counts == [6, 6, 6, 6, 12, 12]


def test_a_restarted_server_draws_and_pools_as_if_nothing_had_happened(
    start: Start, tiny_generator: NetworkGenerator, dimension: int
) -> None:
    with start() as server:
        client = server.client()
        token = client.http.headers["authorization"]
        session = client.opened(POOLED)
        drawn(client, session)
        put(client, session, statistics(1, dimension))
    with start() as server:
        client = Client(httpx.Client(base_url=server.url, headers={"Authorization": token}, timeout=30))
        drawn(client, session, round_=2)  # nobody has asked for round 1's sum, and round 2's pairs are drawn by it
        pairs, sent_back = client.pairs(session, 2).content, pooled(client, session, 1).content
        embedded = EmbeddedCloud(replace_name(tiny_generator, server))
    embedded.open(encode_message(POOLED), [{0: BARE}], [{0: statistics(1, dimension)}])
    assert pairs == embedded.exchange({0: BARE})
    assert int(total(sent_back, dimension).counts.sum()) == 6


def test_what_does_not_fit_a_session_is_refused(cloud: Running, dimension: int) -> None:
    client = cloud.client()
    reading, session = client.opened(), client.opened(POOLED)
    refused = client.put(reading, BARE)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:ktl:error:invalid")
    assert "alignment reads prototypes" in refused.json()["detail"]
    assert client.put(session, prototypes()).status_code == 201  # more than it needs does no harm
    client.pairs(session)
    other = put(client, session, statistics(0, dimension + 1))
    assert (other.status_code, other.json()["type"]) == (422, "urn:ktl:error:invalid")
    assert f"I8, n x {dimension}" in other.json()["detail"]
    strangers = cloud.client("stranger")
    assert put(strangers, session, statistics(0, dimension)).status_code == 404
    assert pooled(strangers, session).status_code == 404
    assert pooled(client, session, round_=7).status_code == 404
