"""Draws the rounds that are queued, each once, with the state of its session's alignment."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator

from ktl.cloud.knowledge import KnowledgeCloud
from ktl.cloud.service.answers import Seconds
from ktl.cloud.service.batching import ServedGenerator
from ktl.cloud.service.database import AWAY
from ktl.cloud.service.events import Event, Events
from ktl.cloud.service.leases import RENEW_EVERY, Hold, Leases, Lost, Stopping
from ktl.cloud.service.live_sessions import LiveSessions
from ktl.cloud.service.memory import MemoryBudget
from ktl.cloud.service.metrics import Metrics
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.store import Store
from ktl.cloud.service.tracing import span
from ktl.errors import KtlError
from ktl.machine import cores
from ktl.pairs import ImageVectorPairs
from ktl.prototypes import Prototypes
from ktl.wire import count_pairs, decode_pooled, encode_pairs

MAX_ATTEMPTS = 25  # a round that has taken servers down so often is given up
MAX_FAULTS = 3  # a round that has raised an unforeseen error so often is given up
LOOK_EVERY = 1.0  # seconds, for deadlines that have passed, and rounds that nobody spoke of
STOP_SECONDS = 10.0

log = logging.getLogger("ktl.cloud")


class Worker:
    """Threads that draw rounds, one that renews their leases, and one that watches deadlines and age."""

    def __init__(
        self,
        store: Store,
        sessions: LiveSessions,
        generator: ServedGenerator,
        events: Events,
        metrics: Metrics,
        memory: MemoryBudget,
        served: Collection[str],
        *,
        jobs: int,
        keep_seconds: float,
        most_seconds: float,
    ) -> None:
        """A round fails that takes `most_seconds`. `served`: whose requests are being answered at the moment.

        No owner has all of the `jobs` rounds at a time, nor all cores: whoever comes then finds one of each.
        """
        self.store = store
        self.sessions = sessions
        self.generator = generator
        self.events = events
        self.metrics = metrics
        self.memory = memory
        self.keep_seconds = keep_seconds
        most = max(min(jobs, len(cores())) - 1, 1)
        self.leases = Leases(store.jobs, served, most_of_one_owner=most, most_seconds=most_seconds)
        self._faults: dict[tuple[str, int], int] = {}  # by session and round
        self._stop = self.leases.stopping
        self._queued = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._draw_queued, name=f"job-{i}", daemon=True) for i in range(jobs)]
        every = (("clock", self._watch_clock, LOOK_EVERY), ("leases", self.leases.renew, RENEW_EVERY))
        for name, task, seconds in every:
            self._threads.append(threading.Thread(target=self._repeat, args=(task, seconds), name=name, daemon=True))
        events.watch(self._heard)

    def start(self) -> None:
        """Takes up what an earlier server left, cleans up, and begins."""
        # PostgreSQL may have other servers: what one of them left is taken up when its lease is up
        left = self.store.jobs.put_back_all() if self.store.database.is_sqlite else 0
        removed = self.store.collect_garbage(self.keep_seconds)
        log.info("started", extra={"rounds_taken_up": left, "sessions_expired": removed, "server": self.leases.server})
        for thread in self._threads:
            thread.start()
        self.wake(self.store.queued())

    def wake(self, jobs: int = 1) -> None:
        """There are new jobs."""
        self._queued.release(max(jobs, 1))

    def alive(self) -> bool:
        """Whether every thread runs."""
        return all(thread.is_alive() for thread in self._threads) and self.generator.alive()

    def stop(self) -> None:
        """Puts back the rounds that are being drawn and ends the threads; they stop after a step or batch of images.

        One that hangs, as its database does, is left behind: its lease runs out.
        """
        self._stop.set()
        self._queued.release(len(self._threads))
        until = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))
        self.generator.close()

    def _heard(self, event: Event) -> None:
        if event.kind == "deleted":
            self.leases.lose(event.session)
            self.sessions.forget(event.session)
        elif event.kind == "queued":
            self.wake()

    def _draw_queued(self) -> None:
        while not self._stop.is_set():
            self._queued.acquire(timeout=LOOK_EVERY)
            try:
                while not self._stop.is_set() and (hold := self.leases.take()) is not None:
                    try:
                        self._settle(hold)
                    finally:
                        self.leases.release(hold)
            except AWAY:  # the clock's thread says so; a lease that could not be given back runs out
                self._stop.wait(LOOK_EVERY)
            except Exception:
                log.exception("a job could not be settled")
                self._stop.wait(LOOK_EVERY)

    def _settle(self, hold: Hold) -> None:
        """Draws a round and keeps it, or says why not."""
        job = hold.claim.session, hold.claim.round
        self.events.tell(Event("round", *job))
        try:
            self._end(hold)
        except (Lost, Refused):
            log.info("round given up", extra=hold.told())  # its session was deleted, or it is another server's
        except Stopping:
            self.store.jobs.put_back(hold.claim)
            self.events.tell(Event("queued", *job))
        finally:
            self.events.tell(Event("ended", *job))

    def _end(self, hold: Hold) -> None:
        """As `_settle`, unless the server stops or the round is lost."""
        try:
            self._draw(hold)
        except (Stopping, Lost, Refused):
            raise
        except AWAY:
            hold.insist(lambda: self.store.jobs.put_back(hold.claim))
        except KtlError as error:
            self._fail(hold, " ".join(str(error).split()))
        except Exception:
            log.exception("a round could not be drawn", extra=hold.told())
            job = hold.claim.session, hold.claim.round
            self._faults[job] = self._faults.get(job, 0) + 1
            if self._faults[job] == MAX_FAULTS:
                self._fail(hold, "the server could not draw this round; its log says why")
            else:
                hold.insist(lambda: self.store.jobs.put_back(hold.claim, counts=True))

    def _fail(self, hold: Hold, reason: str) -> None:
        self._faults.pop((hold.claim.session, hold.claim.round), None)
        hold.insist(lambda: self.store.jobs.fail(hold.claim, reason))
        self.metrics.rounds.labels("failed").inc()
        log.warning("round failed", extra=hold.told() | {"reason": reason})

    def _draw(self, hold: Hold) -> None:
        session, number = hold.claim.session, hold.claim.round
        if self.store.jobs.attempts(session, number) > MAX_ATTEMPTS:
            raise KtlError(f"round {number} was begun {MAX_ATTEMPTS} times and never finished")
        needed = self.sessions.memory_of(session, number)
        if needed > self.memory.largest:
            raise KtlError(f"round {number} may take {needed:,} bytes of memory: this server grants less")
        with self.memory.of(needed, hold.claim.owner, hold.is_over) as granted:
            if not granted:
                raise Stopping if self._stop.is_set() else Lost
            with hold.drawing():
                self._draw_within(hold)

    def _draw_within(self, hold: Hold) -> None:
        session, number = hold.claim.session, hold.claim.round
        cloud, prototypes = self.sessions.take(session, number, hold.check)
        if (known := self.store.pooling.latest(session, before=number)) is not None:
            cloud.learn(decode_pooled(known, cloud.request.num_classes, cloud.space.dimension))
        payload, seconds = self._pairs(hold, cloud, prototypes)
        pairs = count_pairs(payload)
        if not hold.insist(lambda: self.store.jobs.finish(hold.claim, payload, pairs, seconds)):
            raise Lost
        self._faults.pop((session, number), None)
        self.sessions.keep(session, number, cloud)
        self.metrics.round_done(seconds, pairs, len(payload))
        more = {"edges": len(prototypes), "pairs": pairs, "bytes": len(payload)}
        log.info("round done", extra=hold.told() | more | seconds.model_dump())

    def _pairs(self, hold: Hold, cloud: KnowledgeCloud, prototypes: list[Prototypes]) -> tuple[bytes, Seconds]:
        """The round's pairs, encoded, and how long that took."""
        began = time.monotonic()
        with span("alignment", **hold.told(), edges=len(prototypes)):
            batches = cloud.pairs(prototypes)
        aligned = time.monotonic()
        with span("generation", **hold.told()):
            payload = encode_pairs(self._watched(hold, batches), cloud.request)
        return payload, Seconds(alignment=aligned - began, generation=time.monotonic() - aligned)

    def _watched(self, hold: Hold, batches: Iterator[ImageVectorPairs]) -> Iterator[ImageVectorPairs]:
        """The batches as they are drawn; counts their pairs, and stops between them when nobody wants more."""
        for batch in batches:
            hold.check()
            hold.pairs += len(batch)
            self.events.tell(Event("drawn", hold.claim.session, hold.claim.round))
            yield batch

    def _repeat(self, task: Callable[[], None], seconds: float) -> None:
        """Does a task every so many seconds, and again after it failed. An outage is one line in the log."""
        away = False
        while not self._stop.wait(seconds):
            try:
                task()
                away = False
            except AWAY as error:
                if not away:
                    reason = str(error).splitlines()[0]
                    log.warning("the database is away, or its disk is full", extra={"reason": reason})
                away = True
            except Exception:
                log.exception("a task of the clock failed")

    def _watch_clock(self) -> None:
        for job in self.store.pooling.close_due():
            self.events.tell(Event("ended", *job))
        for job in self.store.jobs.close_due():
            self.events.tell(Event("queued", *job))
        self.store.cleaning.tick(self.keep_seconds)
