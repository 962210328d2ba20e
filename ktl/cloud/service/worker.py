"""Draws the rounds that are queued, each once, with the state of its session's alignment."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator

from ktl.cloud.knowledge import KnowledgeCloud
from ktl.cloud.round_bounds import round_bounds
from ktl.cloud.service.answers import Seconds
from ktl.cloud.service.batching import BatchingGenerator
from ktl.cloud.service.events import Event, Events
from ktl.cloud.service.memory import MemoryBudget
from ktl.cloud.service.metrics import Metrics
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.store import Store
from ktl.cloud.service.tracing import span
from ktl.errors import KtlError
from ktl.pairs import ImageVectorPairs
from ktl.spaces.base import SharedSpace
from ktl.warm_start.warm_starts import WarmStarts
from ktl.wire import (
    SessionReply,
    SessionRequest,
    count_pairs,
    decode_message,
    decode_pooled,
    decode_prototypes,
    encode_pairs,
)

MAX_LIVE_SESSIONS = 64  # whose alignment is kept in memory; others' is rebuilt from their uploads
MAX_ATTEMPTS = 25  # a round that has taken the server down so often is given up
MAX_FAULTS = 3  # a round that has raised an unforeseen error so often is given up
LOOK_EVERY = 1.0  # seconds, for deadlines that have passed

log = logging.getLogger("ktl.cloud")

Job = tuple[str, int]  # session id, round


class Stopping(Exception):
    """The server stops; the round goes back into the queue."""


class Worker:
    """Threads that draw rounds, and one that watches deadlines and age."""

    def __init__(
        self,
        store: Store,
        generator: BatchingGenerator,
        events: Events,
        metrics: Metrics,
        space: SharedSpace,
        warm_starts: WarmStarts,
        memory: MemoryBudget,
        *,
        jobs: int,
        keep_seconds: float,
    ) -> None:
        self.store = store
        self.generator = generator
        self.events = events
        self.metrics = metrics
        self.space = space
        self.warm_starts = warm_starts
        self.memory = memory
        self.keep_seconds = keep_seconds
        self.drawn: dict[Job, int] = {}  # pairs so far of the rounds that are being drawn
        self._live: OrderedDict[str, tuple[KnowledgeCloud, int]] = OrderedDict()  # and the rounds already in it
        self._faults: dict[Job, int] = {}
        self._state = threading.Lock()
        self._aligning = threading.Lock()  # some strategies use torch's global random state
        self._stop = threading.Event()
        self._queued = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._draw_queued, name=f"job-{i}", daemon=True) for i in range(jobs)]
        self._threads.append(threading.Thread(target=self._watch_clock, name="clock", daemon=True))

    def start(self) -> None:
        """Takes up what an earlier server left, cleans up, and begins."""
        left = self.store.jobs.requeue_all()
        removed = self.store.collect_garbage(self.keep_seconds)
        log.info("started", extra={"rounds_taken_up": left, "sessions_expired": removed})
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
        """Puts back the rounds that are being drawn and ends the threads; they stop after their batch of images."""
        self._stop.set()
        self._queued.release(len(self._threads))
        for thread in self._threads:
            thread.join()
        self.generator.close()

    def _draw_queued(self) -> None:
        while not self._stop.is_set():
            self._queued.acquire(timeout=LOOK_EVERY)
            try:
                while not self._stop.is_set() and (job := self.store.jobs.claim()) is not None:
                    self._settle(job)
            except Exception:  # the database is away, say: the job's row is as it was
                log.exception("a job could not be settled")
                self._stop.wait(LOOK_EVERY)

    def _settle(self, job: Job) -> None:
        """Draws a round and keeps it, or says why not."""
        session, number = job
        self.events.tell(Event("round", session, number))
        try:
            self._draw(job)
        except Stopping:
            self.store.jobs.requeue(session, number)
        except Refused:
            pass  # the session was deleted
        except KtlError as error:
            self._fail(job, " ".join(str(error).split()))
        except Exception:
            log.exception("a round could not be drawn", extra={"session": session, "round": number})
            self._faults[job] = self._faults.get(job, 0) + 1
            if self._faults[job] < MAX_FAULTS:
                self.store.jobs.requeue(session, number)
                self.wake()
            else:
                self._fail(job, "the server could not draw this round; its log says why")
        finally:
            self.drawn.pop(job, None)
            self.events.tell(Event("ended", session, number))

    def _fail(self, job: Job, reason: str) -> None:
        self._faults.pop(job, None)
        self.store.jobs.fail(*job, reason)
        self.metrics.rounds.labels("failed").inc()
        log.warning("round failed", extra={"session": job[0], "round": job[1], "reason": reason})

    def _draw(self, job: Job) -> None:
        session, number = job
        if self.store.jobs.attempts(session, number) > MAX_ATTEMPTS:
            raise KtlError(f"round {number} was begun {MAX_ATTEMPTS} times and never finished")
        owner = self.store.session(session).owner
        with self.memory.of(self._needed(session, number), owner, self._stop.is_set) as granted:
            if not granted:
                raise Stopping
            self._draw_within(job)

    def _needed(self, session: str, number: int) -> int:
        """Bytes of memory that a round may take."""
        request = decode_message(self.store.request(session), SessionRequest)
        cloud = KnowledgeCloud(self.generator, request, self.space, self.warm_starts)
        needed = round_bounds(cloud, len(self.store.round(session, number).edges_in)).memory
        if needed > self.memory.largest:
            raise KtlError(f"round {number} may take {needed:,} bytes of memory: this server grants less")
        return needed

    def _draw_within(self, job: Job) -> None:
        session, number = job
        cloud, uploads = self._cloud(session, number)
        prototypes = [decode_prototypes(payload, cloud.request.num_classes) for payload in uploads]
        if (known := self.store.pooling.latest(session, before=number)) is not None:
            cloud.learn(decode_pooled(known, cloud.request.num_classes, cloud.space.dimension))
        began = time.monotonic()
        with self._aligning, span("alignment", session=session, round=number, edges=len(uploads)):
            batches = cloud.pairs(prototypes)
        aligned = time.monotonic()
        with span("generation", session=session, round=number):
            payload = encode_pairs(self._watched(job, batches), cloud.request)
        seconds = Seconds(alignment=aligned - began, generation=time.monotonic() - aligned)
        pairs = count_pairs(payload)
        if not self.store.jobs.finish(session, number, payload, pairs, seconds):
            return
        self._faults.pop(job, None)
        with self._state:
            self._live[session] = (cloud, number)
            if len(self._live) > MAX_LIVE_SESSIONS:
                self._live.popitem(last=False)
        self.metrics.round_done(seconds, pairs, len(payload))
        log.info(
            "round done",
            extra={"session": session, "round": number, "edges": len(uploads), "pairs": pairs, "bytes": len(payload)}
            | seconds.model_dump(),
        )

    def _cloud(self, session: str, number: int) -> tuple[KnowledgeCloud, list[bytes]]:
        """The session's cloud as it was after the round before, and this round's uploads."""
        with self._state:
            cloud, done = self._live.pop(session, (None, 0))
        if cloud is not None and done == number - 1:
            return cloud, self.store.jobs.uploads(session, number, number)[0]
        opened, replied = self.store.opening(session)
        request, promised = decode_message(opened, SessionRequest), decode_message(replied, SessionReply)
        with self._aligning:
            cloud = KnowledgeCloud(self.generator, request, self.space, self.warm_starts)
            if (now := cloud.reply()) != promised:
                raise KtlError(
                    f"this session was opened with generator {promised.fingerprint} and vectors in {promised.space!r}, "
                    f"and the server now has {now.fingerprint} and {now.space!r}; open a new session, or start the "
                    "server as it was"
                )
            for before in range(1, number):  # one after the other: all of them may not fit into the memory
                if self._stop.is_set():
                    raise Stopping
                [uploads] = self.store.jobs.uploads(session, before, before)
                cloud.skip([decode_prototypes(payload, request.num_classes) for payload in uploads])
        return cloud, self.store.jobs.uploads(session, number, number)[0]

    def _watched(self, job: Job, batches: Iterator[ImageVectorPairs]) -> Iterator[ImageVectorPairs]:
        """The batches as they are drawn; counts their pairs, and stops between them when the server does."""
        self.drawn[job] = 0
        for batch in batches:
            if self._stop.is_set():
                raise Stopping
            self.drawn[job] += len(batch)
            self.events.tell(Event("round", *job))
            yield batch

    def _watch_clock(self) -> None:
        while not self._stop.wait(LOOK_EVERY):
            try:
                for job in self.store.pooling.close_due():
                    self.events.tell(Event("ended", *job))
                for job in self.store.jobs.close_due():
                    self.events.tell(Event("round", *job))
                    self.wake()
                self.store.cleaning.tick(self.keep_seconds)
            except Exception:  # the database is away, say: look again
                log.exception("the clock could not look into the store")
