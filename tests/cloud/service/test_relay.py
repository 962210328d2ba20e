"""What servers on one database hear from each other."""

from __future__ import annotations

import pytest
from support.waiting import eventually

from ktl.cloud.service.answers import Seconds
from ktl.cloud.service.database import Database
from ktl.cloud.service.events import Event, Events
from ktl.cloud.service.relay import Relay
from ktl.cloud.service.store import Opening, Store


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # SQLite has one server
@pytest.mark.parametrize("ends", ["done", "failed"])
def test_that_a_round_ended_is_heard_though_its_server_dies_at_once(ends: str, database: Database) -> None:
    events = Events()
    heard: list[Event] = []
    events.watch(heard.append)
    relay = Relay(database, events, "alive")
    relay.start()
    assert eventually(lambda: Event("missed") in heard)  # from now on it listens
    store = Store(database)
    session, _, _ = store.open_session(Opening(owner="o", idempotency_key="k", request=b"{}", reply=b"{}"))
    store.put_prototypes(session, 1, "a", b"A", "o", "o")
    claim = store.jobs.claim("dies")
    assert claim is not None
    if ends == "done":
        store.jobs.finish(claim, b"pairs", 1, Seconds(alignment=0.1, generation=0.2))
    else:
        store.jobs.fail(claim, "it could not be drawn")
    assert eventually(lambda: Event("ended", session, 1) in heard)
    relay.stop()
