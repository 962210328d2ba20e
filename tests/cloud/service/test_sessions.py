"""Opening, listing and deleting sessions."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load

from ktl.etf import simplex_etf
from ktl.protocol import JSON, SAFETENSORS
from ktl.seeds import stream

from .conftest import REQUEST, Running, Start, prototypes


def test_a_retried_opening_opens_no_second_session(cloud: Running) -> None:
    client = cloud.client("retrying")
    first, second = client.open(key="k-1", quorum=2), client.open(key="k-1", quorum=2)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.headers["location"] == second.headers["location"]
    assert first.content == second.content
    other = client.open(replace(REQUEST, seed=4), key="k-1", quorum=2)
    assert (other.status_code, other.json()["type"]) == (409, "urn:ktl:error:conflict")
    assert client.open(key="k-1", quorum=3).status_code == 409
    assert cloud.client("another").open(key="k-1", quorum=2).status_code == 201
    assert len(client.http.get("/v1/sessions").json()["sessions"]) == 1


def test_an_opening_needs_an_idempotency_key(cloud: Running) -> None:
    refused = cloud.client().http.post("/v1/sessions", content=b"{}", headers={"Content-Type": JSON})
    assert refused.status_code == 422
    assert "idempotency-key" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_classes": 1}, "num_classes is 1: expected a whole number of at least 2 and at most 1000"),
        ({"alignment": "perfect"}, "unknown alignment 'perfect': choose one of robust, pooled, random, published"),
        ({"alignment_settings": {"spread": 1.5}}, "spread is 1.5: give a number of at least 0 and at most 1"),
        ({"alignment_settings": {"spread": "wide"}}, "spread is 'wide': give a number of at least 0 and at most 1"),
        ({"alignment_settings": {"colour": 1}}, "'colour' is no setting of Settings"),
        ({"alignment_settings": {"name": 1}}, "'name' is no setting of Settings"),
        (
            {"alignment": "published", "alignment_settings": {"epochs": 10**9}},
            "epochs is 1000000000: give a whole number of at least 1 and at most 1000",
        ),
        ({"alignment": "random", "alignment_settings": {"spread": 0.5}}, "'spread' is no setting of NoSettings"),
        ({"image_size": 512}, "image_size is 512: this server grants at most 256"),
        ({"download_bytes": 100_000_000}, "download_bytes is 100,000,000: this server grants at most 67,108,864"),
    ],
)
def test_an_opening_that_cannot_be_met_is_refused_by_name(cloud: Running, change: dict[str, Any], reason: str) -> None:
    refused = cloud.client().open(replace(REQUEST, **change))
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:ktl:error:invalid")
    assert refused.json()["detail"].startswith(reason)


@pytest.mark.parametrize(
    "name", ["os:system", "never_imported:Alignment", "builtins:eval", "../x:y", "ktl.alignment.robust:RobustAlignment"]
)
def test_a_name_from_a_stranger_never_imports_code(
    cloud: Running, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "never_imported.py").write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    refused = cloud.client().open(replace(REQUEST, alignment=name))
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:ktl:error:invalid")
    assert refused.json()["detail"].startswith(f"unknown alignment '{name}': choose one of robust")
    assert "never_imported" not in set(sys.modules) - before


def test_settings_of_the_alignment_reach_it_and_are_shown(cloud: Running) -> None:
    client = cloud.client()
    payloads = {}
    for spread in (0.8, 0.2):
        session = client.opened(replace(REQUEST, alignment_settings={"spread": spread}))
        assert client.http.get(session).json()["request"]["alignment_settings"] == {"spread": spread}
        client.put(session, prototypes())
        payloads[spread] = client.pairs(session).content
    plain = client.opened()
    assert "alignment_settings" not in client.http.get(plain).json()["request"]
    client.put(plain, prototypes())
    assert client.pairs(plain).content == payloads[0.8] != payloads[0.2]


@pytest.mark.parametrize("parameters", [{"quorum": 0}, {"quorum": 1001}, {"deadline": 0}, {"deadline": "nan"}])
def test_impossible_parameters_are_refused(cloud: Running, parameters: dict[str, object]) -> None:
    refused = cloud.client().open(**parameters)  # type: ignore[arg-type]
    assert refused.status_code == 422
    assert next(iter(parameters)) in refused.json()["detail"]


def test_a_name_that_no_token_has_cannot_be_made_a_member(cloud: Running) -> None:
    refused = cloud.client("owner").open(member=["owner", "nobody-at-all"])
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:ktl:error:invalid")
    assert refused.json()["detail"].startswith("member 'nobody-at-all': there is no token of this name")


def test_the_etf_is_the_one_that_ktls_edges_make(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened(replace(REQUEST, num_classes=7))
    answer = client.http.get(f"{session}/etf")
    vectors = load(answer.content)["vectors"]
    assert (vectors == simplex_etf(7, 7, stream(REQUEST.seed, "etf")).T.numpy()).all()
    again = client.http.get(f"{session}/etf", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, answer.headers["content-type"]) == (304, SAFETENSORS)


def test_sessions_are_listed_newest_first_and_page_by_page(cloud: Running) -> None:
    client = cloud.client("lister")
    opened = [client.opened().removeprefix("/v1/sessions/") for _ in range(5)]
    pages, after = [], None
    while after is not None or not pages:
        parameters = {"limit": 2} | ({"after": after} if after else {})
        page = client.http.get("/v1/sessions", params=parameters).json()
        pages.append([session["id"] for session in page["sessions"]])
        after = page["next"]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [session for page in pages for session in page] == opened[::-1]


def test_a_session_tells_what_was_asked_and_where_it_is(cloud: Running) -> None:
    client, _, _ = (cloud.client(name) for name in ("owner", "friend", "aunt"))
    session = client.opened(quorum=2, deadline=60, member=["friend", "aunt"])
    state = client.http.get(session).json()
    assert (state["owner"], state["members"], state["quorum"], state["deadline"]) == (
        "owner",
        ["aunt", "friend"],
        2,
        60,
    )
    assert (state["request"]["seed"], state["reply"]["latent_dim"], state["round"]) == (3, 16, None)
    client.put(session, prototypes())
    assert client.http.get(session).json()["round"]["edges_missing"] == 1


def test_a_deleted_session_leaves_nothing_behind(start: Start) -> None:
    with start() as cloud:
        client = cloud.client()
        session = client.opened()
        client.put(session, prototypes())
        assert client.pairs(session).status_code == 200
        assert cloud.service.store.stored_bytes() > 1000
        assert client.http.delete(session).status_code == 204
        assert [client.http.get(session).status_code, client.http.delete(session).status_code] == [404, 404]
        assert client.pairs(session).status_code == 404
        assert cloud.service.store.stored_bytes() == 0
        with cloud.service.database.read() as rows:
            tables = ("sessions", "members", "edges", "rounds", "uploads", "pieces")
            left = {
                table: rows.connection().exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() for table in tables
            }
        assert left == dict.fromkeys(tables, 0)


def test_sessions_that_nothing_happened_in_are_cleaned_up_on_start(start: Start) -> None:
    with start() as cloud:
        old, fresh = (cloud.client().opened() for _ in range(2))
        with cloud.service.database.write() as rows:
            age = "UPDATE sessions SET active_at = active_at - 8 * 86400 WHERE id = ?"
            rows.connection().exec_driver_sql(age, (old.rpartition("/")[2],))
    with start() as cloud:
        client = cloud.client()
        assert [client.http.get(old).status_code, client.http.get(fresh).status_code] == [404, 200]


def test_a_full_store_takes_nothing_more_in_and_says_when_to_come_back(start: Start) -> None:
    with start(most_stored="5kB") as cloud:
        client = cloud.client()
        session = client.opened(quorum=9)
        while (answer := client.open()).status_code == 201:
            pass
        for refused in (answer, client.put(session, prototypes())):
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
            assert "the store has promised its 5,000 bytes" in refused.json()["detail"]
        client.http.delete(session)
        assert client.open().status_code == 201


def test_a_full_queue_takes_no_round_more_and_loses_none(start: Start) -> None:
    with start(queue=1, jobs=1) as cloud:
        client = cloud.client()
        request = replace(REQUEST, pairs_per_class=300, download_bytes=2_000_000)
        sessions = [client.opened(request) for _ in range(4)]
        answers = [client.put(session, prototypes()) for session in sessions]
        refused = [session for session, answer in zip(sessions, answers, strict=True) if answer.status_code == 503]
        assert refused
        assert {answer.headers.get("retry-after") for answer in answers} == {None, "2"}
        assert client.http.get(f"{refused[0]}/rounds/1").json()["edges_in"] == []
        for session in sessions:
            while client.put(session, prototypes()).status_code == 503:
                client.pairs(sessions[0])
            assert client.pairs(session).status_code == 200
