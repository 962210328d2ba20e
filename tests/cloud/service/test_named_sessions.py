"""Sessions that are created for several edges: found by name, with an end, and with members that may be late."""

from __future__ import annotations

from dataclasses import replace

from ktl.class_agreement import class_digest
from ktl.cloud.service.store import Opening

from .conftest import Running, prototypes


def test_a_session_is_found_by_its_name_by_those_that_take_part(cloud: Running) -> None:
    owner, member, stranger = (cloud.client(name) for name in ("mill", "mill-cam", "passer-by"))
    digest = class_digest(["cat", "dog", "horse"])
    path = owner.opened(name="mill", rounds=3, classes=digest, member=["mill-cam"])
    owner.opened(name="other", member=["mill-cam"])
    for client in (owner, member):
        (found,) = client.http.get("/v1/sessions", params={"name": "mill"}).json()["sessions"]
        assert f"/v1/sessions/{found['id']}" == path
        assert (found["name"], found["rounds"], found["classes"]) == ("mill", 3, digest)
    assert stranger.http.get("/v1/sessions", params={"name": "mill"}).json()["sessions"] == []
    assert owner.http.get("/v1/sessions", params={"name": "no such"}).status_code == 422


def test_a_name_is_taken_until_its_session_is_deleted(cloud: Running) -> None:
    client = cloud.client("twice")
    path = client.opened(name="hall")
    refused = client.open(name="hall")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:ktl:error:conflict")
    assert refused.json()["detail"].startswith("'twice' has a session called 'hall'")
    assert cloud.client("another-one").open(name="hall").status_code == 201
    assert client.http.delete(path).status_code == 204
    assert client.open(name="hall").status_code == 201


def test_a_key_stands_for_name_rounds_and_classes_too(cloud: Running) -> None:
    client = cloud.client("keyed")
    assert client.open(key="k", name="a", rounds=2).status_code == 201
    assert client.open(key="k", name="a", rounds=2).status_code == 200
    assert client.open(key="k", name="a", rounds=3).status_code == 409
    of_before = Opening("o", "k", b"{}", b"{}", 2, None, ("B",))  # as releases without names kept it
    assert of_before.demand() == '["{}", 2, null, ["B"]]'
    assert replace(of_before, rounds=2).demand() == '["{}", 2, null, ["B"], null, 2, null]'


def test_what_is_no_name_or_digest_is_refused(cloud: Running) -> None:
    client = cloud.client()
    for parameters in ({"name": "two words"}, {"rounds": 0}, {"rounds": 10_001}, {"classes": "cat,dog"}):
        assert client.open(**parameters).status_code == 422, parameters


def test_a_session_takes_no_round_beyond_its_last(cloud: Running) -> None:
    client = cloud.client("cam-1")
    session = client.opened(rounds=1)
    client.put(session, prototypes())
    assert client.pairs(session).status_code == 200
    refused = client.put(session, prototypes(), round_=2)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:ktl:error:invalid")
    assert refused.json()["detail"] == "round 2 is beyond the last: the session has 1 rounds"


def test_members_that_were_not_waited_for_are_late(cloud: Running) -> None:
    clients = {name: cloud.client(name) for name in ("quick", "slow", "slower")}
    session = clients["quick"].opened(member=["slow", "slower"], quorum=2)
    clients["quick"].put(session, prototypes(1), edge="quick")
    collecting = clients["slow"].http.get(f"{session}/rounds/1").json()
    assert (collecting["edges_late"], collecting["pooling"]) == ([], None)
    clients["slow"].put(session, prototypes(2), edge="slow")
    clients["quick"].pairs(session)
    assert clients["slower"].http.get(f"{session}/rounds/1").json()["edges_late"] == ["slower"]
