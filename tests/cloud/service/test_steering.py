"""Changing a session that is open: members, quorum, giving a round up."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from .conftest import Running, prototypes


def test_a_member_is_let_in_and_taken_out(cloud: Running) -> None:
    owner, late = cloud.client("owner"), cloud.client("late-comer")
    session = owner.opened(quorum=3)
    assert late.http.get(session).status_code == 404
    assert owner.http.put(f"{session}/members/late-comer").status_code == 204
    assert owner.http.put(f"{session}/members/late-comer").status_code == 204
    assert late.put(session, prototypes(1), edge="late-comer").status_code == 201
    assert owner.http.put(f"{session}/members/nobody-at-all").status_code == 422
    assert owner.http.delete(f"{session}/members/late-comer").status_code == 204
    assert late.http.get(session).status_code == 404
    assert owner.http.get(f"{session}/rounds/1").json()["edges_in"] == ["late-comer"]


def test_a_smaller_quorum_begins_the_round_that_waits(cloud: Running) -> None:
    owner = cloud.client("owner")
    session = owner.opened(quorum=9)
    owner.put(session, prototypes(1), edge="one")
    with ThreadPoolExecutor(1) as thread:
        pairs = thread.submit(owner.pairs, session)
        time.sleep(0.2)  # for the request to be waiting
        assert owner.http.put(f"{session}/quorum/1").json()["quorum"] == 1
        assert pairs.result().status_code == 200
    assert owner.put(session, prototypes(2), 2, edge="one").json()["edges_missing"] == 0
    assert owner.http.put(f"{session}/quorum/1001").status_code == 422


def test_a_cancelled_round_ends_its_session_and_whoever_waits_for_it_is_told(cloud: Running) -> None:
    owner, boss = cloud.client("owner"), cloud.client("boss", "admin")
    session = owner.opened(quorum=2)
    owner.put(session, prototypes(1), edge="one")
    with ThreadPoolExecutor(1) as thread:
        pairs = thread.submit(owner.pairs, session)
        time.sleep(0.2)  # for the request to be waiting
        cancelled = boss.http.post(f"{session}/rounds/1/cancel")
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "failed")
        refused = pairs.result()
    assert (refused.status_code, refused.json()["detail"]) == (422, "cancelled by boss")
    again = owner.http.post(f"{session}/rounds/1/cancel")
    assert (again.status_code, again.json()["type"]) == (409, "urn:ktl:error:conflict")
    assert owner.http.post(f"{session}/rounds/7/cancel").status_code == 404
    boss.http.delete(session)
    acts = boss.http.get("/v1/audit", params={"limit": 2}).json()["acts"]
    told = [(act["actor"], act["action"], act["target"]) for act in acts]
    here = f"session {session.rpartition('/')[2]}"
    assert told == [("boss", "deleted", here), ("boss", "round 1 cancelled", here)]
