"""Spans of OpenTelemetry, where it is installed and asked for; nothing elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ktl.errors import UsageError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def export_spans() -> None:
    """Sends spans to the collector that the environment names, if it names one. Raises UsageError if it cannot."""
    if not os.environ.get(ENDPOINT):
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise UsageError(f"{ENDPOINT} is set but {error.name} is missing: pip install 'ktl[telemetry]'") from error
    provider = TracerProvider(resource=Resource.create({"service.name": "ktl-cloud"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[None]:
    """A span around the block; it costs microseconds where nothing is exported."""
    try:
        from opentelemetry import trace
    except ModuleNotFoundError:
        yield
        return
    with trace.get_tracer("ktl.cloud").start_as_current_span(name, attributes=attributes):
        yield
