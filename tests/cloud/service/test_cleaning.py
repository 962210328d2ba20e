"""Deleting sessions: at once for whoever looks, bit by bit on the disk, and never for their age by a wrong clock."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event

from ktl.cloud.service import cleaning
from ktl.cloud.service.answers import Seconds
from ktl.cloud.service.database import Database
from ktl.cloud.service.models import CloudSession
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.store import Opening, Store

OPENING = Opening("o", "k", b'{"seed":1}', b'{"fingerprint":"f"}')
SECRET = b"prototypes of a face" * 400


@pytest.fixture
def store(tmp_path: Path) -> Store:
    database = Database(f"sqlite:///{tmp_path / 'store.db'}")
    database.upgrade()
    return Store(database)


def test_what_was_deleted_is_on_the_disk_no_longer(store: Store, tmp_path: Path) -> None:
    session, _, _ = store.open_session(OPENING)
    store.put_prototypes(session, 1, "a", SECRET, "o", "o")
    assert any(SECRET[:20] in file.read_bytes() for file in tmp_path.iterdir())
    store.delete_session(session, "o")
    store.cleaning.tick(keep_seconds=1e9)
    assert not any(SECRET[:20] in file.read_bytes() for file in tmp_path.iterdir())


def test_a_large_session_goes_in_steps_between_which_others_write(store: Store) -> None:
    session, _, _ = store.open_session(OPENING)
    store.put_prototypes(session, 1, "a", b"A", "o", "o")
    claim = store.jobs.claim("s")
    assert claim is not None
    store.jobs.finish(claim, bytes(32 * 2**20), 1, Seconds(alignment=0.1, generation=0.1))
    bury(store, session)
    with pytest.raises(Refused, match="there is no session"):
        store.session(session)
    commits: list[object] = []
    event.listen(store.database.engine, "commit", commits.append)
    store.cleaning.delete(session)
    assert len(commits) > 32 * 4 / cleaning.ROWS_AT_ONCE
    assert store.stored_bytes() == 0


def bury(store: Store, session: str) -> None:
    with store.database.write() as rows:
        cleaning.bury(rows, rows.get_one(CloudSession, session))


def test_the_key_of_a_deleted_session_opens_another_one(store: Store) -> None:
    first, _, _ = store.open_session(OPENING)
    bury(store, first)  # and the server is killed before its rows are gone
    second, _, new = store.open_session(OPENING)
    assert (new, second != first) == (True, True)
    assert [session.id for session in store.sessions(None)] == [second]
    assert store.collect_garbage(keep_seconds=1e9) == 1
    assert store.session(second).id == second


def test_a_session_whose_round_waits_for_its_deadline_is_not_idle(store: Store) -> None:
    waiting, _, _ = store.open_session(replace(OPENING, quorum=2, deadline=3600.0))
    store.put_prototypes(waiting, 1, "a", b"A", "o", "o")
    idle, _, _ = store.open_session(replace(OPENING, idempotency_key="other"))
    time.sleep(0.02)
    assert store.collect_garbage(keep_seconds=0.01) == 1
    assert [session.id for session in store.sessions(None)] == [waiting]
    assert idle != waiting


def test_nothing_is_deleted_for_its_age_by_a_clock_that_was_set(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.open_session(OPENING)
    monkeypatch.setattr(cleaning, "CLEAN_EVERY", 0.0)
    right = time.time
    monkeypatch.setattr(cleaning.time, "time", lambda: right() + 1e8)
    store.cleaning.tick(keep_seconds=1000.0)
    assert len(store.sessions(None)) == 1
    store.cleaning._jumped_at -= 1001.0  # as if it had run on for so long
    store.cleaning.tick(keep_seconds=1000.0)
    assert store.sessions(None) == []
