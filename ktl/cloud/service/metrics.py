"""What Prometheus reads at /metrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from ktl.cloud.service.answers import Seconds

NAMESPACE = "ktl_cloud"
QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SLOW = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300)


class Metrics:
    """The service's own counters; every server has its own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.in_database = CollectorRegistry()  # what only the database knows
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        counter = partial(Counter, namespace=NAMESPACE, registry=self.registry)
        histogram = partial(Histogram, namespace=NAMESPACE, registry=self.registry)
        self.requests = counter("requests", "Requests by route and status.", ["route", "method", "status"])
        self.request_seconds = histogram("request_seconds", "Time to answer.", ["route"], buckets=QUICK)
        self.received = counter("received_bytes", "Prototype bytes acknowledged.")
        self.sent = counter("sent_bytes", "Pair bytes sent.")
        self.uploads = counter("uploads", "Prototypes acknowledged.")
        self.rounds = counter("rounds", "Rounds that ended.", ["state"])
        self.pairs = counter("pairs", "Image-vector pairs drawn.")
        self.alignment = histogram("alignment_seconds", "Alignment of a round.", buckets=SLOW)
        self.generation = histogram("generation_seconds", "Generation of a round.", buckets=SLOW)
        self.errors = counter("errors", "Refused or failed requests by kind.", ["kind"])
        self.database_up = Gauge("database_up", "1 if it answers.", namespace=NAMESPACE, registry=self.registry)

    def round_done(self, seconds: Seconds, pairs: int, size: int) -> None:
        """A round was drawn: how long it took, and how much came of it."""
        self.rounds.labels("done").inc()
        self.pairs.inc(pairs)
        self.alignment.observe(seconds.alignment)
        self.generation.observe(seconds.generation)

    def watch(self, name: str, what: str, read: Callable[[], float], *, in_database: bool = False) -> None:
        """A value that is read when Prometheus asks."""
        registry = self.in_database if in_database else self.registry
        Gauge(name, what, namespace=NAMESPACE, registry=registry).set_function(read)

    def text(self, *, database_up: bool) -> bytes:
        """The exposition format; without what is read from the database where that does not answer."""
        self.database_up.set(database_up)
        return generate_latest(self.registry) + (generate_latest(self.in_database) if database_up else b"")
