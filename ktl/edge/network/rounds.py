"""The rounds of a session over HTTP, whoever opened it: docs/protocol.md, from the edges' side."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ktl.edge.network.ping import ping
from ktl.edge.network.transport import Passing, Refusal, Transport
from ktl.errors import CloudError, UsageError
from ktl.protocol import JSON, SAFETENSORS, digest_field
from ktl.wire import MAX_PAIR_BYTES, MAX_WARM_START_BYTES

FIRST_WAIT = 5.0  # seconds that the cloud is asked to hold back an answer; then twice as long each time
MAX_WAIT = 3600.0  # seconds, whatever the cloud grants
STANDSTILL_SECONDS = 3600.0  # that a round may wait for other edges without any change

Stoppable = Callable[[], AbstractContextManager[object]]


class HttpRounds:
    """The part of `ktl.loop.connection.CloudConnection` that follows the opening; who derives from it opens.

    One token speaks for all `clients`, and every one of them takes part in every round. `stoppable()` is held while it
    waits for an answer: whoever wants a stop raises Interrupted in there. Every method raises
    CloudUnreachable when the cloud did not answer for `access.patience` seconds, CloudError when it refused, and
    UsageError for a round in which a client is missing.
    """

    standstill = STANDSTILL_SECONDS

    def __init__(self, transport: Transport, clients: int, stoppable: Stoppable = nullcontext) -> None:
        self.clients = clients
        self.transport = transport
        self.stoppable = stoppable
        self.longest_wait = FIRST_WAIT  # seconds
        self._path = ""  # of the session
        self._edges: list[str] = []  # the clients' names in the session, by client number
        self._round = 0  # the last one that was answered

    def own_name(self) -> str:
        """The token's name. Learns how long the cloud lets one wait. Raises CloudError if it is no ktl cloud."""
        about = ping(self.transport)
        self.longest_wait = min(max(about["limits"]["wait_seconds"], FIRST_WAIT), MAX_WAIT)
        return str(about["token"]["name"])

    def exchange(self, uploads: Mapping[int, bytes]) -> bytes:
        """One round: every client's prototypes up, pairs down, checked against the digest that the cloud sent along."""
        if not self._path:
            raise CloudError("the session is not open: call open() before exchange()")
        self._upload(self._round + 1, "prototypes", uploads)
        pairs = self._download(f"rounds/{self._round + 1}/pairs")
        self._round += 1
        return pairs

    def pool(self, uploads: Mapping[int, bytes]) -> bytes:
        """The same round's class statistics of every client up, those of all edges of the session down."""
        self._upload(self._round, "statistics", uploads)
        return self._download(f"rounds/{self._round}/pooled")

    def warm_start(self, model: str) -> bytes:
        """The extractor of an architecture that the request named; waits while the cloud makes it."""
        return self._download(f"warm-starts/{model}", MAX_WARM_START_BYTES)

    def waiting(self, state: dict[str, Any]) -> None:
        """Called with each answer that something is not ready: soon at first, then about every `longest_wait`."""

    def ready(self) -> None:
        """Called when something has come, whether it was waited for or not."""

    def _upload(self, round_number: int, kind: str, uploads: Mapping[int, bytes]) -> None:
        if sorted(uploads) != list(range(self.clients)):
            raise UsageError(
                f"round {round_number} has uploads of {len(uploads)} of {self.clients} clients: over a service every "
                "client takes part in every round; use join ratio 1 and no drop-outs"
            )
        for client, payload in sorted(uploads.items()):
            self._put(f"{self._path}/rounds/{round_number}/{kind}/{self._edges[client]}", payload)

    def _put(self, path: str, payload: bytes) -> None:
        headers = {
            "Content-Type": SAFETENSORS,
            "Accept": JSON,
            "Content-Digest": digest_field(hashlib.sha256(payload).digest()),
        }

        def attempt(progress: Callable[[], None]) -> None:
            with self.transport.request("PUT", path, headers=headers, content=payload) as answer:
                answer.table()

        try:
            self.transport.retried(attempt)
        except Refusal as refusal:
            if refusal.kind != "round-closed":  # too late to count, but what the round gives is for this edge too
                raise

    def _download(self, path: str, max_bytes: int = MAX_PAIR_BYTES) -> bytes:
        download = Download(self, f"{self._path}/{path}", max_bytes)
        payload: bytes | None = None
        with self.stoppable():
            while payload is None:
                payload = self.transport.retried(download.attempt)
        self.ready()
        return payload


class Download:
    """A payload that is gone on with where the connection broke off, and taken only if its digest is right."""

    def __init__(self, rounds: HttpRounds, path: str, max_bytes: int) -> None:
        self.rounds = rounds
        self.path = path
        self.max_bytes = max_bytes
        self.received = bytearray()
        self.etag = ""
        self._wait, self._longest = FIRST_WAIT, rounds.longest_wait
        self._state: Any = None
        self._changed = time.monotonic()

    def attempt(self, progress: Callable[[], None]) -> bytes | None:
        """The whole payload, or None while it is not ready. Raises as `Transport.request` does."""
        headers = {"Accept": f"{SAFETENSORS}, {JSON}"}
        if self.received:
            headers |= {"Range": f"bytes={len(self.received)}-", "If-Range": self.etag}
        wait, longest = self._wait, self._longest
        # a network may drop what is silent for so long: if no answer comes, ask for less from then on
        self._wait, self._longest = 0.0, max(wait / 2, FIRST_WAIT)
        path = f"{self.path}?wait={wait:g}"
        with self.rounds.transport.request("GET", path, headers=headers, wait=wait) as answer:
            self._longest = longest
            if answer.status == 202:
                self._wait = min(max(2 * wait, FIRST_WAIT), longest)
                self._note(answer.table())
                return None
            self._start(answer.status, answer.headers)
            for piece in answer.body(self.max_bytes - len(self.received)):
                self.received += piece
                progress()
            digest = answer.headers.get("repr-digest")
        payload = bytes(self.received)
        self.received.clear()
        if digest != digest_field(hashlib.sha256(payload).digest()):
            raise Passing(f"the {len(payload)} bytes of {self.path} do not have the digest that the cloud announced")
        return payload

    def _start(self, status: int, headers: Any) -> None:
        """Keeps what was received if the answer goes on after it, drops it if the answer starts from the first byte."""
        goes_on = headers.get("content-range", "").startswith(f"bytes {len(self.received)}-")
        if status != 206 or not goes_on or headers.get("etag", "") != self.etag:
            self.received.clear()
            if status == 206:
                raise Passing("the cloud went on with another part than was asked for")
        self.etag = headers.get("etag", "")

    def _note(self, state: dict[str, Any]) -> None:
        self.rounds.waiting(state)
        if state != self._state:
            self._state, self._changed = state, time.monotonic()
        elif time.monotonic() - self._changed > self.rounds.standstill:
            waits = f"round {state.get('round')} still waits for {state.get('edges_missing')} other edges"
            if "steps" in state:
                waits = f"the warm start is still at step {state.get('step')} of {state.get('steps')}"
            raise CloudError(
                f"{waits}, and nothing has changed for {self.rounds.standstill:.0f} s; go on with --resume"
            )
