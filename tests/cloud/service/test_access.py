"""Who may do what: every route with every kind of token."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from starlette.requests import Request

from ktl.cloud.service.quotas import RateLimit, address
from ktl.cloud.service.refusals import Refused
from ktl.protocol import JSON, SAFETENSORS
from ktl.wire import encode_message

from .conftest import REQUEST, Client, Running, Start, prototypes

# (method, path) -> status for: no token, a stranger's, a member's, the opener's, an admin's, one for metrics
MATRIX = {
    ("GET", "/v1"): (401, 200, 200, 200, 200, 200),
    ("GET", "/healthz"): (200, 200, 200, 200, 200, 200),
    ("GET", "/readyz"): (200, 200, 200, 200, 200, 200),
    ("GET", "/metrics"): (401, 403, 403, 403, 200, 200),
    ("POST", "/v1/sessions"): (401, 201, 201, 201, 201, 403),
    ("GET", "/v1/sessions"): (401, 200, 200, 200, 200, 403),
    ("GET", "/v1/sessions/{session}"): (401, 404, 200, 200, 200, 403),
    ("DELETE", "/v1/sessions/{session}"): (401, 404, 403, 204, 204, 403),
    ("GET", "/v1/sessions/{session}/etf"): (401, 404, 200, 200, 200, 403),
    ("PUT", "/v1/sessions/{session}/members/{name}"): (401, 404, 403, 204, 204, 403),
    ("DELETE", "/v1/sessions/{session}/members/{name}"): (401, 404, 403, 204, 204, 403),
    ("PUT", "/v1/sessions/{session}/quorum/{quorum}"): (401, 404, 403, 200, 200, 403),
    ("POST", "/v1/sessions/{session}/rounds/{round}/cancel"): (401, 404, 403, 200, 200, 403),
    ("PUT", "/v1/sessions/{session}/rounds/{round}/prototypes/{edge}"): (401, 404, 201, 201, 201, 403),
    ("GET", "/v1/sessions/{session}/rounds/{round}"): (401, 404, 200, 200, 200, 403),
    ("GET", "/v1/sessions/{session}/rounds/{round}/pairs"): (401, 404, 202, 202, 202, 403),
    ("PUT", "/v1/sessions/{session}/rounds/{round}/statistics/{edge}"): (401, 404, 422, 422, 422, 403),
    ("GET", "/v1/sessions/{session}/rounds/{round}/pooled"): (401, 404, 202, 202, 202, 403),
    ("GET", "/v1/sessions/{session}/warm-starts/{model}"): (401, 404, 404, 404, 404, 403),
    ("GET", "/v1/sessions/{session}/events"): (401, 404, 200, 200, 200, 403),
    ("POST", "/v1/tokens"): (401, 403, 403, 403, 201, 403),
    ("GET", "/v1/tokens"): (401, 403, 403, 403, 200, 403),
    ("DELETE", "/v1/tokens/{token}"): (401, 403, 403, 403, 204, 403),
    ("POST", "/v1/tokens/{token}/rotate"): (401, 403, 403, 403, 201, 403),
    ("GET", "/v1/audit"): (401, 403, 403, 403, 200, 403),
}
WHO = ("nobody", "stranger", "member", "opener", "admin", "scraper")


@pytest.fixture(scope="module")
def clients(cloud: Running) -> dict[str, Client]:
    nobody = Client(httpx.Client(base_url=cloud.url))
    named = {name: cloud.client(name) for name in ("stranger", "member", "opener")}
    scopes = {"admin": cloud.client("admin", "admin"), "scraper": cloud.client("scraper", "metrics")}
    return {"nobody": nobody} | scopes | named


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize(("method", "path"), list(MATRIX))
def test_each_route_answers_those_it_is_for(
    cloud: Running, clients: dict[str, Client], method: str, path: str, who: str
) -> None:
    cloud.service.unknown = RateLimit(1000.0)  # this file has many callers without a token
    session = clients["opener"].opened(quorum=9, member=["member"])
    clients["opener"].put(session, prototypes(), edge="first")
    target = path.replace("/v1/sessions/{session}", session).replace("{round}", "1").replace("{edge}", who)
    target = target.replace("{name}", "stranger").replace("{quorum}", "5").replace("{model}", "cnn4")
    target = target.replace("{token}", cloud.service.tokens.create("spare", "edge")[4:16])
    headers, content = {}, None
    if path == "/v1/tokens" and method == "POST":
        target += "?name=spare"
    if path == "/v1/sessions" and method == "POST":
        headers, content = {"Content-Type": JSON, "Idempotency-Key": f"key-{who}"}, encode_message(REQUEST)
    if method == "PUT" and "{edge}" in path:
        headers, content = {"Content-Type": SAFETENSORS}, prototypes()
    with clients[who].http.stream(method, target, headers=headers, content=content) as answer:
        assert answer.status_code == MATRIX[method, path][WHO.index(who)]
        assert answer.headers["x-content-type-options"] == "nosniff"
    if path == "/v1/sessions/{session}" and MATRIX[method, path][WHO.index(who)] != 204:
        assert clients["opener"].http.get(session).status_code == 200


def test_the_matrix_has_every_route_of_the_protocol(cloud: Running) -> None:
    routes = cloud.client().http.get("/openapi.json").json()["paths"]
    served = {(method.upper(), path) for path, methods in routes.items() for method in methods}
    assert served == set(MATRIX)


def test_a_strangers_session_looks_like_one_that_never_was(cloud: Running) -> None:
    session = cloud.client("owner").opened()
    stranger = cloud.client("stranger")
    theirs, nobodys = stranger.http.get(session), stranger.http.get(f"/v1/sessions/{'0' * 32}")
    assert theirs.json()["detail"].replace(session[-32:], "0" * 32) == nobodys.json()["detail"]
    assert session[-32:] not in stranger.http.get("/v1/sessions").text


def test_an_edge_is_called_as_its_token_and_no_other_tokens_edge_is(cloud: Running) -> None:
    owner, one, _ = (cloud.client(name) for name in ("owner", "m-1", "m-2"))
    session = owner.opened(quorum=9, member=["m-1", "m-2"])
    assert one.put(session, prototypes(1), edge="m-1").status_code == 201
    for client, edge in ((one, "m-2"), (one, "of-my-own"), (owner, "m-2"), (owner, "m-1"), (owner, "stranger")):
        refused = client.put(session, prototypes(1), edge=edge)
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:ktl:error:forbidden")
    assert owner.put(session, prototypes(1), edge="owner-1").status_code == 201  # a gateway's
    assert owner.put(session, prototypes(1), edge="owner").json()["edges_in"] == ["m-1", "owner", "owner-1"]
    assert cloud.client("m-1").put(session, prototypes(1), edge="m-1").status_code == 200  # a new token of the name


def test_a_revoked_token_stops_at_once_and_a_new_one_of_its_name_goes_on(cloud: Running) -> None:
    client = cloud.client("rotated")
    session = client.opened()
    assert client.http.get(session).status_code == 200
    token = client.http.headers["authorization"].removeprefix("Bearer ")
    cloud.service.tokens.revoke(token.split("_")[1])
    refused = client.http.get(session)
    assert (refused.status_code, refused.json()["type"]) == (401, "urn:ktl:error:unauthorised")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert cloud.client("rotated").http.get(session).status_code == 200


def test_a_token_that_is_revoked_while_its_request_waits_gets_nothing(cloud: Running) -> None:
    owner, waiting = cloud.client("owner"), cloud.client("waiting")
    session = owner.opened(quorum=2, member=["waiting"])
    owner.put(session, prototypes(1), edge="first")
    with ThreadPoolExecutor(1) as thread, waiting.http.stream("GET", f"{session}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: round"
        pairs = thread.submit(waiting.pairs, session)
        token = waiting.http.headers["authorization"].removeprefix("Bearer ")
        time.sleep(0.3)  # for the request to be waiting
        cloud.service.tokens.revoke(token.split("_")[1])
        owner.put(session, prototypes(2), edge="second")
        assert pairs.result().status_code == 401
        assert [line for line in lines if line.startswith("event")] == []


@pytest.mark.parametrize("damage", ["last", "id", "empty", "scheme"])
def test_a_token_that_is_nearly_right_is_refused(cloud: Running, damage: str) -> None:
    token = cloud.service.tokens.create("right", "edge")
    wrong = {
        "last": f"Bearer {token[:-2]}{'AA' if token[-2:] != 'AA' else 'BB'}",
        "id": f"Bearer {token.replace(token[4:16], '0' * 12)}",
        "empty": "Bearer",
        "scheme": f"Basic {token}",
    }[damage]
    assert httpx.get(f"{cloud.url}/v1", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert httpx.get(f"{cloud.url}/v1", headers={"Authorization": wrong}).status_code == 401


def test_secrets_are_stored_as_salted_hashes_only(cloud: Running) -> None:
    tokens = [cloud.service.tokens.create("same", "edge") for _ in range(2)]
    with cloud.service.database.read() as rows:
        stored = rows.connection().exec_driver_sql("SELECT * FROM tokens").all()
    assert not any(token.split("_", 2)[2].encode() in bytes(str(row), "utf-8") for token in tokens for row in stored)
    assert len({row.hash for row in stored}) == len({row.salt for row in stored}) == len(stored)


def test_a_token_that_asks_too_often_has_to_wait_and_others_do_not(start: Start) -> None:
    with start(rate=0.1) as cloud:  # one at once, and the next after 10 s
        client = cloud.client("eager")
        assert client.http.get("/v1").status_code == 200
        refused = client.http.get("/v1")
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:ktl:error:rate-limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 10
        assert cloud.client("patient").http.get("/v1").status_code == 200


def test_guessing_tokens_is_slowed_down_and_tokens_that_were_right_are_not(start: Start) -> None:
    with start() as cloud, httpx.Client(base_url=cloud.url) as guesser:
        known, new = cloud.client("known"), cloud.client("new")
        assert known.http.get("/v1").status_code == 200
        cloud.service.unknown = RateLimit(0.1)
        guess = {"Authorization": "Bearer ktl_" + "0" * 12 + "_" + "x" * 43}
        assert [guesser.get("/v1", headers=guess).status_code for _ in range(3)] == [401, 429, 429]
        with cloud.service.database.write() as rows:  # what is limited is not even looked up
            rows.connection().exec_driver_sql("ALTER TABLE tokens RENAME TO gone")
        assert [guesser.get("/v1", headers=guess).status_code, new.http.get("/v1").status_code] == [429, 429]
        with cloud.service.database.write() as rows:
            rows.connection().exec_driver_sql("ALTER TABLE gone RENAME TO tokens")
        assert known.http.get("/v1").status_code == 200


def test_addresses_of_one_ipv6_network_share_a_limit() -> None:
    def counted(host: str) -> str:
        return address(Request({"type": "http", "client": (host, 1)}))

    assert counted("2001:db8::1") == counted("2001:db8::ffff:1") != counted("2001:db8:0:1::1")
    assert counted("::ffff:192.0.2.7") == counted("192.0.2.7") == "192.0.2.7"


def test_a_rate_limit_fills_up_again() -> None:
    limit = RateLimit(rate=50.0)
    limit.burst = 1.0
    limit.take("a")
    with pytest.raises(Refused, match="more than 50 requests per second; wait 1 s"):
        limit.take("a")
    limit.take("b")
    while True:  # 20 ms
        try:
            limit.take("a")
            break
        except Refused:
            continue


def test_the_openapi_document_bounds_a_session_as_it_is_checked(cloud: Running) -> None:
    document = cloud.client().http.get("/openapi.json").json()
    body = document["paths"]["/v1/sessions"]["post"]["requestBody"]["content"][JSON]["schema"]
    assert body["properties"]["num_classes"] == {"type": "integer", "minimum": 2, "maximum": 1000}
    assert body["properties"]["version"] == {"const": 1}
    optional = set(body["properties"]) - set(body["required"])
    assert optional == {"alignment_settings", "memory", "pairs_version", "warm_starts"}
    assert body["additionalProperties"] is False


def test_every_route_is_in_the_openapi_document_with_its_errors(cloud: Running) -> None:
    document = cloud.client().http.get("/openapi.json").json()
    operation = document["paths"]["/v1/sessions"]["post"]
    assert operation["requestBody"]["content"][JSON]["example"]["num_classes"] == 10
    assert set(operation["responses"]) >= {"200", "201", "4XX", "503"}
    assert document["components"]["securitySchemes"]
