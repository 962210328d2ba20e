"""What one name's sessions may take, and all together: counted when it is admitted, given back when it is gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from ktl.cloud.round_bounds import RoundBounds
from ktl.cloud.service.accounts import EVERYONE, ROW_BYTES, Quotas, usage
from ktl.cloud.service.answers import Seconds
from ktl.cloud.service.database import Database
from ktl.cloud.service.jobs import Claim
from ktl.cloud.service.models import CloudSession
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.store import Opening, Store
from ktl.cloud.service.tokens import Tokens

from .conftest import REQUEST, Start, prototypes

OPENING = Opening("o", "k", b'{"seed":1}', b'{"fingerprint":"f"}', bounds=RoundBounds(10, 5_000, 0))
SECONDS = Seconds(alignment=0.1, generation=0.2)
Stores = Callable[..., Store]


@pytest.fixture
def store_with(tmp_path: Path) -> Stores:
    """A store of its own with the given quotas."""
    database = Database(f"sqlite:///{tmp_path / 'store.db'}")
    database.upgrade()
    return lambda **quotas: Store(database, Quotas(**quotas))


def counted(store: Store, name: str) -> tuple[int, int, int]:
    with store.database.write() as rows:
        known = usage(rows, name)
        return known.sessions, known.bytes, known.pairs


def claimed(store: Store) -> Claim:
    claim = store.jobs.claim("s")
    assert claim is not None
    return claim


def test_a_rounds_pairs_are_promised_and_then_counted(store_with: Stores) -> None:
    store = store_with()
    session, _, _ = store.open_session(OPENING)
    opened = counted(store, "o")[1]
    store.put_prototypes(session, 1, "a", b"A" * 100, "o", "o")
    assert counted(store, "o") == (1, opened + 5_000 + 100 + 3 * ROW_BYTES, 10)
    assert store.jobs.finish(claimed(store), bytes(700), 7, SECONDS)
    assert counted(store, "o") == (1, opened + 700 + 100 + 2 * ROW_BYTES, 7)
    with store.database.read() as rows:
        assert rows.scalar(select(func.sum(CloudSession.size))) == store.stored_bytes() == counted(store, EVERYONE)[1]
    store.delete_session(session, "o")
    assert counted(store, "o") == (0, 0, 7)
    assert store.stored_bytes() == 0


def test_a_round_that_fails_gives_back_what_it_was_promised(store_with: Stores) -> None:
    store = store_with()
    session, _, _ = store.open_session(OPENING)
    store.put_prototypes(session, 1, "a", b"A", "o", "o")
    before = counted(store, "o")
    store.jobs.fail(claimed(store), "it cannot be drawn")
    assert counted(store, "o") == (1, before[1] - 5_000 - ROW_BYTES, 0)


def test_members_are_rows_and_rows_are_counted(store_with: Stores) -> None:
    store = store_with()
    names = [f"m{i}" for i in range(400)]
    Tokens(store.database).create_all(names, "edge")
    store.open_session(replace(OPENING, members=tuple(names)))
    assert counted(store, "o")[1] > 400 * ROW_BYTES


@pytest.mark.parametrize(
    ("quotas", "kind", "reason"),
    [
        ({"each_sessions": 1}, "quota", "'o' has 1 sessions, the most for one name; delete some"),
        ({"each_stored": 2_000}, "quota", "the sessions of 'o' hold .* bytes for one name"),
        ({"stored": 2_000}, "busy", "the store has promised its 2,000 bytes"),
    ],
)
def test_a_session_too_many_is_refused(store_with: Stores, quotas: dict[str, int], kind: str, reason: str) -> None:
    store = store_with(**quotas)
    Tokens(store.database).create_all(["a", "b"], "edge")
    store.open_session(OPENING)
    with pytest.raises(Refused, match=reason) as refused:
        store.open_session(replace(OPENING, idempotency_key="l", members=("a", "b")))
    assert refused.value.kind == kind
    if kind == "quota":  # others have theirs
        store.open_session(replace(OPENING, owner="other"))


@pytest.mark.parametrize(
    ("quotas", "kind", "reason"),
    [
        ({"each_rounds": 1}, "rate-limited", "1 rounds of 'o' wait already"),
        ({"each_pairs": 15}, "rate-limited", "'o' has had 10 of the 15 pairs for one day"),
        ({"queued": 1}, "busy", "1 rounds are waiting to be drawn"),
        ({"stored": 9_000}, "busy", "the store has promised its 9,000 bytes"),
    ],
)
def test_a_round_too_many_is_refused_and_its_upload_not_kept(
    store_with: Stores, quotas: dict[str, int], kind: str, reason: str
) -> None:
    store = store_with(**quotas)
    sessions = [store.open_session(replace(OPENING, idempotency_key=key))[0] for key in "ab"]
    store.put_prototypes(sessions[0], 1, "a", b"A", "o", "o")
    before = counted(store, "o")
    with pytest.raises(Refused, match=reason) as refused:
        store.put_prototypes(sessions[1], 1, "a", b"A", "o", "o")
    assert refused.value.kind == kind
    assert int(refused.value.headers["Retry-After"]) > 0
    assert counted(store, "o") == before
    assert store.round(sessions[1], 1).edges_in == []


def test_a_round_that_its_deadline_closes_is_counted_too_and_waits_for_room(store_with: Stores) -> None:
    store = store_with(each_pairs=15)
    opening = replace(OPENING, quorum=2, deadline=0.001)
    sessions = [store.open_session(replace(opening, idempotency_key=key))[0] for key in "ab"]
    for session in sessions:
        store.put_prototypes(session, 1, "a", b"A", "o", "o")
    time.sleep(0.01)
    [(closed, _)] = store.jobs.close_due()
    assert counted(store, "o")[2] == 10
    [waiting] = set(sessions) - {closed}
    assert store.round(waiting, 1).state == "collecting"
    store.jobs.finish(claimed(store), bytes(700), 4, SECONDS)
    assert counted(store, "o")[2] == 4
    assert store.jobs.close_due() == [(waiting, 1)]


def test_a_session_has_only_so_many_pairs(store_with: Stores) -> None:
    store = store_with(session_pairs=15)
    session, _, _ = store.open_session(OPENING)
    store.put_prototypes(session, 1, "a", b"A", "o", "o")
    store.jobs.finish(claimed(store), bytes(700), 10, SECONDS)
    with pytest.raises(Refused, match="this session has had 10 of the 15 pairs for one session; open another"):
        store.put_prototypes(session, 2, "a", b"A", "o", "o")


def test_what_can_never_be_drawn_is_refused_when_the_session_is_opened(start: Start) -> None:
    with start(most_pairs=100, most_memory="30MB") as cloud:
        client = cloud.client()
        many = client.open(replace(REQUEST, num_classes=101, pairs_per_class=1))
        assert (many.status_code, many.json()["type"]) == (422, "urn:ktl:error:invalid")
        assert "a round may have 101 pairs: this server grants at most 100" in many.json()["detail"]
        large = client.open(replace(REQUEST, num_classes=100, pairs_per_class=1), quorum=1000)
        assert (large.status_code, large.json()["type"]) == (422, "urn:ktl:error:invalid")
        assert "bytes of memory: this server grants at most 26,250,000" in large.json()["detail"]
        session = client.opened()
        client.put(session, prototypes())
        assert client.pairs(session).status_code == 200
