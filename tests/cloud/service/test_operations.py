"""Setting a server up, watching it, and what it writes down."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ktl.cloud.service.logs import JsonLines
from ktl.errors import KtlError

from .conftest import Running, Start, prototypes


def test_a_port_that_is_taken_is_named(start: Start, tmp_path: Path) -> None:
    with start() as cloud:
        port = int(cloud.url.rpartition(":")[2])
        taken = start(port=port, database=f"sqlite:///{tmp_path / 'other.db'}")
        with (
            pytest.raises(KtlError, match=f"cannot listen on 127.0.0.1 port {port} .*choose another with --port"),
            taken,
        ):
            pass


def test_health_readiness_and_metrics_tell_what_happened(cloud: Running) -> None:
    client = cloud.client()
    session = client.opened()
    client.put(session, prototypes())
    size = len(client.pairs(session).content)
    assert client.http.get("/healthz").json() == {"status": "ok"}
    assert client.http.get("/readyz").json() == {"status": "ok", "checks": {"database": True, "worker": True}}
    text = cloud.client("admin", "admin").http.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines['ktl_cloud_rounds_total{state="done"}']) >= 1
    assert float(lines["ktl_cloud_sent_bytes_total"]) >= size
    assert float(lines["ktl_cloud_received_bytes_total"]) >= len(prototypes())
    assert float(lines["ktl_cloud_generation_seconds_count"]) >= 1
    assert float(lines["ktl_cloud_queued_rounds"]) == 0
    put = 'route="/v1/sessions/{session}/rounds/{round}/prototypes/{edge}"'
    assert any(put in name and 'status="201"' in name for name in lines)


def test_a_server_whose_database_is_gone_is_not_ready(start: Start, tmp_path: Path) -> None:
    with start() as cloud:
        with cloud.service.database.write() as rows:
            rows.connection().exec_driver_sql("ALTER TABLE tokens RENAME TO gone")
        refused = httpx.get(f"{cloud.url}/readyz")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["detail"] == "not ready: database"
        assert httpx.get(f"{cloud.url}/healthz").status_code == 200
        token = {"Authorization": "Bearer ktl_" + "0" * 12 + "_" + "x" * 43}
        fault = httpx.get(f"{cloud.url}/v1", headers=token)
        assert (fault.status_code, fault.headers["retry-after"]) == (503, "1")  # a client tries again
        assert "tokens" not in fault.text  # no word of SQL
        with cloud.service.database.write() as rows:
            rows.connection().exec_driver_sql("ALTER TABLE gone RENAME TO tokens")


def test_metrics_are_told_without_the_database_to_those_that_it_knew(start: Start) -> None:
    with start() as cloud:
        scraper, new = cloud.client("prometheus", "metrics"), cloud.client("new", "metrics")
        text = scraper.http.get("/metrics").text
        assert "ktl_cloud_stored_bytes 0.0" in text
        assert "ktl_cloud_database_up 1.0" in text
        with cloud.service.database.write() as rows:
            rows.connection().exec_driver_sql("ALTER TABLE tokens RENAME TO gone")
        assert new.http.get("/metrics").status_code == 503
        text = scraper.http.get("/metrics").text
        assert "ktl_cloud_database_up 0.0" in text
        assert "process_resident_memory_bytes" in text
        assert "stored_bytes" not in text
        with cloud.service.database.write() as rows:
            rows.connection().exec_driver_sql("ALTER TABLE gone RENAME TO tokens")


@pytest.mark.parametrize(
    ("trusted", "told"), [("127.0.0.1", "203.0.113.9"), ("10.0.0.0/8, ::1", "127.0.0.1"), ("", "127.0.0.1")]
)
def test_forwarded_addresses_count_from_trusted_proxies_alone(
    start: Start, caplog: pytest.LogCaptureFixture, trusted: str, told: str
) -> None:
    caplog.set_level(logging.INFO, "ktl.cloud.request")
    forwarded = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9", "X-Forwarded-Proto": "https"}
    with start(trusted_proxies=trusted) as cloud:
        token = cloud.service.tokens.create("boss", "admin")
        login = httpx.post(f"{cloud.url}/login", data={"token": token}, headers=forwarded)
    assert login.status_code == 303
    assert ("Secure" in login.headers["set-cookie"]) == (told != "127.0.0.1")
    assert caplog.records[-1].client == told  # type: ignore[attr-defined]


def test_a_fault_of_the_server_tells_the_request_id_and_nothing_else(start: Start) -> None:
    with start() as cloud:
        client = cloud.client()
        cloud.service.generator.family = 1 / 3  # type: ignore[assignment] # no text, so the answer cannot be made
        fault = client.http.get("/v1", headers={"X-Request-Id": "mine-9"})
        assert (fault.status_code, fault.json()["type"]) == (500, "urn:ktl:error:internal")
        assert fault.json()["detail"] == "a fault of the server; its log has it under request id mine-9"
        assert client.http.get("/v1/sessions").status_code == 200


def test_log_lines_are_json_with_request_ids_and_without_secrets(cloud: Running) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("ktl.cloud")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        client = cloud.client()
        session = client.opened()
        client.put(session, prototypes(), **{"X-Request-Id": "mine-7"})
        client.pairs(session)
    finally:
        logger.removeHandler(handler)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    (put,) = [line for line in lines if line.get("request_id") == "mine-7"]
    assert (put["method"], put["status"], put["level"]) == ("PUT", 201, "info")
    assert any(line["message"] == "round done" and line["pairs"] == 12 for line in lines)
    secret = client.http.headers["authorization"].split("_", 2)[2]
    assert secret not in stream.getvalue()


def test_a_round_is_traced_where_spans_are_exported(cloud: Running) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    client = cloud.client()
    session = client.opened()
    client.put(session, prototypes())
    client.pairs(session)
    names = [span.name for span in spans.get_finished_spans()]
    assert {"request", "alignment", "generation"} <= set(names)
