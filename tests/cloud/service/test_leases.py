"""Who draws a round, and what becomes of it when they are gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ktl.cloud.embedded import EmbeddedCloud
from ktl.cloud.service import jobs
from ktl.cloud.service.answers import Seconds
from ktl.cloud.service.database import Database
from ktl.cloud.service.jobs import Claim
from ktl.cloud.service.store import Opening, Store
from ktl.generators.network import NetworkGenerator
from ktl.wire import encode_message

from .conftest import REQUEST, Client, Running, Start, prototypes

SECONDS = Seconds(alignment=0.1, generation=0.2)
# 1000 epochs of 2 prototypes a step: minutes
ENDLESS = replace(REQUEST, alignment="published", alignment_settings={"epochs": 1000, "batch": 2}, num_classes=200)


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


def queued(store: Store, owner: str = "o", key: str = "k") -> str:
    """A new session whose first round waits to be drawn."""
    session, _, _ = store.open_session(Opening(owner=owner, idempotency_key=key, request=b"{}", reply=b"{}"))
    store.put_prototypes(session, 1, "a", b"A", owner, owner)
    return session


def claimed(store: Store, server: str = "s", besides: tuple[str, ...] = ()) -> Claim:
    claim = store.jobs.claim(server, besides)
    assert claim is not None
    return claim


def test_owners_take_turns_however_many_rounds_one_has_queued(store: Store) -> None:
    for number in range(4):
        queued(store, "greedy", str(number))
    queued(store, "late")
    assert [claimed(store).owner for _ in range(3)] == ["greedy", "late", "greedy"]
    assert store.jobs.claim("s", besides=("greedy",)) is None
    queued(store, "late", "again")
    assert claimed(store, besides=("greedy",)).owner == "late"


def test_a_lease_that_is_up_is_taken_over_and_the_first_holder_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LEASE_SECONDS", 0.5)
    session = queued(store)
    gone = claimed(store, "one")
    assert store.jobs.claim("two") is None
    time.sleep(0.6)
    alive = claimed(store, "two")
    assert (alive.session, store.jobs.attempts(session, 1)) == (session, 2)
    assert store.jobs.renew({gone.holder: 5, alive.holder: 7}) == {alive.holder}
    assert store.round(session, 1).pairs == 7
    store.jobs.put_back(gone)
    store.jobs.fail(gone, "gone")
    assert not store.jobs.finish(gone, b"other", 1, SECONDS)
    assert store.jobs.finish(alive, b"pairs", 1, SECONDS)
    assert b"".join(store.read(store.stored(session, 1), 0, 5)) == b"pairs"
    time.sleep(0.6)
    assert store.jobs.claim("two") is None


def test_a_lease_that_is_renewed_stays_and_a_round_that_is_put_back_costs_no_attempt(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LEASE_SECONDS", 0.5)
    session = queued(store)
    claim = claimed(store)
    for _ in range(3):
        time.sleep(0.25)
        assert store.jobs.renew({claim.holder: 0}) == {claim.holder}
    assert store.jobs.claim("two") is None
    store.jobs.put_back(claim)
    assert (store.round(session, 1).state, store.jobs.attempts(session, 1)) == ("queued", 0)
    claim = claimed(store)
    store.delete_session(session, "o")
    assert store.jobs.renew({claim.holder: 0}) == set()
    assert not store.jobs.finish(claim, b"pairs", 1, SECONDS)


def test_what_an_earlier_server_of_a_file_was_drawing_is_queued_again(store: Store) -> None:
    queued(store)
    first = claimed(store)
    assert store.jobs.put_back_all() == 1
    assert claimed(store).session == first.session


def state(client: Client, session: str) -> str:
    return str(client.http.get(f"{session}/rounds/1").json()["state"])


@pytest.fixture
def aligning(start: Start) -> Iterator[tuple[Running, Client, str]]:
    """A server that is at a session's alignment, for minutes."""
    with start(jobs=2) as cloud:
        client = cloud.client()
        session = client.opened(ENDLESS)
        assert client.put(session, prototypes(0, 200)).status_code == 201
        while state(client, session) != "drawing":
            time.sleep(0.01)
        yield cloud, client, session


def test_a_long_alignment_blocks_nobody_and_ends_with_its_session(aligning: tuple[Running, Client, str]) -> None:
    cloud, client, session = aligning
    other = client.opened()  # of the same token: it waits for its turn
    client.put(other, prototypes())
    strangers = cloud.client("edge-2")
    theirs = strangers.opened()
    strangers.put(theirs, prototypes())
    assert strangers.pairs(theirs).status_code == 200
    assert (state(client, session), state(client, other)) == ("drawing", "queued")
    assert client.http.delete(session).status_code == 204
    assert client.pairs_at_last(other)


@pytest.mark.parametrize("alignment", ["published", "robust"])
def test_sessions_that_are_aligned_at_the_same_time_get_the_bits_of_one_that_is_alone(
    start: Start, tiny_generator: NetworkGenerator, alignment: str
) -> None:
    requests = [replace(REQUEST, alignment=alignment, seed=seed) for seed in range(4)]
    with start(jobs=5) as cloud:
        client = cloud.client()
        sessions = [client.opened(request) for request in requests]
        for session in sessions:
            client.put(session, prototypes())
        drawn = [client.pairs_at_last(session) for session in sessions]
    for request, pairs in zip(requests, drawn, strict=True):
        embedded = EmbeddedCloud(tiny_generator)
        embedded.open(encode_message(request), [])
        assert embedded.exchange({0: prototypes()}) == pairs


def test_a_server_stops_in_the_middle_of_an_alignment(aligning: tuple[Running, Client, str]) -> None:
    cloud, _, session = aligning
    began = time.monotonic()
    cloud.service.worker.stop()
    assert time.monotonic() - began < 5
    assert cloud.service.store.round(session.rpartition("/")[2], 1).state == "queued"


def test_a_round_that_takes_too_long_fails_and_says_so(start: Start) -> None:
    with start(most_seconds=2.0) as cloud:
        client = cloud.client()
        session = client.opened(ENDLESS)
        client.put(session, prototypes(0, 200))
        failed = client.pairs(session)
        assert failed.status_code == 422
        assert failed.json()["detail"].startswith("the round took more than the 2 s")
