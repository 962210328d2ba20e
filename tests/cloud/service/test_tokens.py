"""Tokens that end, are exchanged and tell their last use; and looking after them over the network."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from ktl.cloud.service.database import Database
from ktl.cloud.service.models import Token
from ktl.cloud.service.tokens import Tokens
from ktl.errors import UsageError

from .conftest import Client, Running, Start


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    database = Database(f"sqlite:///{tmp_path / 'cloud.db'}")
    database.upgrade()
    return Tokens(database)


def id_of(token: str) -> str:
    return token.split("_")[1]


def let_pass(tokens: Tokens, seconds: float) -> None:
    """As if all tokens had been made so much earlier."""
    with tokens.database.write() as rows:
        rows.execute(update(Token).values(created_at=Token.created_at - seconds, expires_at=Token.expires_at - seconds))


def test_a_token_ends_when_it_was_told_to(tokens: Tokens) -> None:
    token = tokens.create("cam-7", "edge", seconds=3600.0)
    caller = tokens.caller(token)
    assert caller is not None
    let_pass(tokens, 3000.0)
    assert tokens.live(caller.token)
    assert tokens.remembered(token) == caller
    let_pass(tokens, 600.0)
    assert tokens.caller(token) is None
    assert not tokens.live(caller.token)
    assert tokens.remembered(token) is None


def test_a_token_is_exchanged_for_one_that_lives_as_long(tokens: Tokens) -> None:
    old = tokens.create("cam-7", "metrics", seconds=86_400.0)
    let_pass(tokens, 3600.0)
    name, new = tokens.rotate(id_of(old), grace=600.0)
    caller = tokens.caller(new)
    assert caller is not None
    assert (name, caller.name, caller.scope) == ("cam-7", "cam-7", "metrics")
    assert tokens.caller(old) is not None
    second = next(row for row in tokens.all() if row.id == caller.token)
    assert second.expires_at == pytest.approx(second.created_at + 86_400.0, abs=1.0)
    let_pass(tokens, 600.0)
    assert [tokens.caller(old), tokens.caller(new)] == [None, caller]
    with pytest.raises(UsageError, match=f"the token '{id_of(old)}' has ended: create a new one named 'cam-7'"):
        tokens.rotate(id_of(old), grace=0.0)


def test_the_time_of_last_use_is_kept(tokens: Tokens) -> None:
    used, unused = tokens.create("used", "edge"), tokens.create("unused", "edge")
    began = time.time()
    for _ in range(3):
        tokens.caller(used)
    tokens.caller(f"{unused[:-2]}AA")
    tokens.write_uses()
    by_name = {row.name: row.used_at for row in tokens.all()}
    assert by_name["unused"] is None
    assert by_name["used"] == pytest.approx(began, abs=60.0)


def test_a_server_that_stops_writes_the_last_uses_down(start: Start) -> None:
    with start() as cloud:
        client = cloud.client("cam-7")
        assert client.http.get("/v1").status_code == 200
        tokens = cloud.service.tokens
    [used] = [row.used_at for row in tokens.all() if row.name == "cam-7"]
    assert used == pytest.approx(time.time(), abs=60.0)


def test_many_tokens_are_made_all_or_none(tokens: Tokens) -> None:
    with pytest.raises(UsageError, match="the token name 'a' was given 2 times"):
        tokens.create_all(["a", "b", "a"], "edge")
    with pytest.raises(UsageError, match="the token name '-c' must be"):
        tokens.create_all(["a", "-c"], "edge")
    assert tokens.all() == []
    made = tokens.create_all([f"cam-{i}" for i in range(100)], "edge")
    assert [caller.name for token in made.values() if (caller := tokens.caller(token))] == list(made)


def admin(cloud: Running) -> Client:
    return cloud.client("boss", "admin")


def test_an_admin_makes_lists_exchanges_and_revokes_tokens_and_it_is_written_down(start: Start) -> None:
    with start() as cloud:
        boss = admin(cloud)
        made = boss.http.post("/v1/tokens", params={"name": ["n-1", "n-2"], "expires": 3600}).json()["tokens"]
        assert sorted(made) == ["n-1", "n-2"]
        assert httpx.get(f"{cloud.url}/v1", headers={"Authorization": f"Bearer {made['n-1']}"}).status_code == 200
        rotated = boss.http.post(f"/v1/tokens/{id_of(made['n-2'])}/rotate", params={"grace": 0}).json()["tokens"]
        known = [
            httpx.get(f"{cloud.url}/v1", headers={"Authorization": f"Bearer {t}"})
            for t in (made["n-2"], rotated["n-2"])
        ]
        assert [each.status_code for each in known] == [401, 200]
        assert boss.http.delete(f"/v1/tokens/{id_of(made['n-1'])}").status_code == 204
        assert boss.http.delete(f"/v1/tokens/{'0' * 12}").status_code == 404
        listed, after = [], None
        while after is not None or not listed:
            page = boss.http.get("/v1/tokens", params={"limit": 2} | ({"after": after} if after else {})).json()
            listed += page["tokens"]
            after = page["next"]
        assert [row["id"] for row in listed] == sorted(row["id"] for row in listed)
        by_id = {row["id"]: row for row in listed}
        assert by_id[id_of(made["n-1"])]["revoked_at"] is not None
        assert by_id[id_of(rotated["n-2"])]["expires_at"] is not None
        assert not any(secret.split("_", 2)[2] in str(listed) for secret in (made | rotated).values())
        acts = boss.http.get("/v1/audit").json()["acts"]
        boss_acts = [(act["action"], act["target"].partition(" ")[0]) for act in acts if act["actor"] == "boss"]
        assert boss_acts == [
            ("token revoked", id_of(made["n-1"])),
            ("token created", id_of(rotated["n-2"])),
            ("token rotated", id_of(made["n-2"])),
            ("token created", id_of(made["n-2"])),
            ("token created", id_of(made["n-1"])),
        ]
        assert {act["actor"] for act in acts} == {"boss", "the command line"}
        older = boss.http.get("/v1/audit", params={"before": acts[1]["id"], "limit": 1}).json()
        assert (older["acts"], older["next"]) == ([acts[2]], acts[2]["id"])


def test_an_impossible_token_is_refused_over_the_network_too(cloud: Running) -> None:
    boss = admin(cloud)
    for parameters in (
        {},
        {"name": "a b"},
        {"name": "a", "scope": "root"},
        {"name": "a", "expires": 0},
        {"name": ["a", "a"]},
    ):
        refused = boss.http.post("/v1/tokens", params=parameters)
        assert (refused.status_code, refused.json()["type"]) == (422, "urn:ktl:error:invalid"), parameters
