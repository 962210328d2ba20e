"""A session of one or more edges with a cloud over HTTP: docs/reference/protocol.md, from the edges' side."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from ktl.edge.network.transport import MAX_ANSWER_BYTES, Access, Passing, Refusal, Transport
from ktl.errors import CheckpointError, CloudError, CloudUnreachable, UsageError
from ktl.files import write_json
from ktl.protocol import JSON, NAME, SAFETENSORS, SESSION_ID, digest_field
from ktl.wire import MAX_PAIR_BYTES, MAX_WARM_START_BYTES, VERSION

WAIT_SECONDS = 20  # that the cloud is asked to hold back an answer while the pairs are not ready
STANDSTILL_SECONDS = 3600.0  # that a round may wait for other edges without any change


@dataclass(frozen=True)
class SessionFile:
    """What a run directory keeps of its session: enough to find it again after any crash."""

    url: str
    key: str  # makes the opening idempotent
    request: str  # SHA-256 of what the key stands for: the request, and the quorum if it is not 1
    session: str | None = None

    @classmethod
    def load(cls, path: Path) -> SessionFile | None:
        """The session in `path`, or None where there is none. Raises CheckpointError for a damaged file."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged ({error}); delete it to go on in a new session") from error

    def save(self, path: Path) -> None:
        """Replaces the file `path`, as a whole. Raises CheckpointError when it cannot be written."""
        write_json(path, asdict(self))


class HttpCloud:
    """A cloud on another machine. Implements `ktl.loop.connection.CloudConnection`.

    `run` is the run directory: session.json in it is written before the session is opened, so that an edge that was
    killed at any moment finds its session again. One token speaks for all `clients`, and every one of them takes part
    in every round. Every method raises CloudUnreachable when the cloud did not answer for `access.patience` seconds,
    CloudError when it refused, and UsageError for a round in which a client is missing.
    """

    def __init__(self, access: Access, run: Path, clients: int = 1) -> None:
        self.run = run
        self.clients = clients
        self._transport = Transport(access)
        self._path = ""  # of the session
        self._edges: list[str] = []  # the clients' names in the session, by client number
        self._round = 0  # the last one that was answered

    def open(
        self, request: bytes, answered: Sequence[Mapping[int, bytes]], pooled: Sequence[Mapping[int, bytes]] = ()
    ) -> bytes:
        """Starts a session, or takes one up again after the rounds whose uploads are given.

        A session that the cloud no longer has is started anew, and those uploads are sent again.
        """
        self._edges = _edge_names(str(ping(self._transport)["token"]["name"]), self.clients)
        kept = self._session_file(request)
        reply, session = self._opened(request, kept.key)
        SessionFile(kept.url, kept.key, kept.request, session).save(self._file)
        self._path = f"/v1/sessions/{session}"
        known = self._table(self._path)["round"]
        for index in range(max(known["round"] - 1, 0) if known else 0, len(answered)):
            self._upload(index + 1, "prototypes", answered[index])
            if index < len(pooled) and pooled[index]:
                self._upload(index + 1, "statistics", pooled[index])
        self._round = len(answered)
        return reply

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

    def delete_session(self) -> None:
        """Deletes the run's session on the cloud, if it still exists. Asked once only."""
        kept = SessionFile.load(self._file)
        if kept is None or kept.session is None:
            return
        try:
            with self._transport.request("DELETE", f"/v1/sessions/{kept.session}", headers={}):
                pass
        except Refusal as refusal:
            if refusal.kind != "not-found":
                raise
        except httpx.TransportError as error:
            raise CloudUnreachable(f"{self._transport.access.url} could not be reached ({error})") from error

    @property
    def _query(self) -> str:
        return "" if self.clients == 1 else f"?quorum={self.clients}"

    @property
    def _file(self) -> Path:
        return self.run / "session.json"

    def _session_file(self, request: bytes) -> SessionFile:
        """What session.json holds if it is of this request to this cloud; else a new key, saved before it is used."""
        url, digest = self._transport.access.url, hashlib.sha256(self._query.encode() + request).hexdigest()
        kept = SessionFile.load(self._file)
        if kept is None or (kept.url, kept.request) != (url, digest):
            kept = SessionFile(url, secrets.token_hex(16), digest)
            self.run.mkdir(parents=True, exist_ok=True)
            kept.save(self._file)
        return kept

    def _opened(self, request: bytes, key: str) -> tuple[bytes, str]:
        path = f"/v1/sessions{self._query}"
        headers = {"Content-Type": JSON, "Accept": JSON, "Idempotency-Key": key}

        def attempt(progress: Callable[[], None]) -> tuple[bytes, str]:
            with self._transport.request("POST", path, headers=headers, content=request) as answer:
                session = urlsplit(answer.headers.get("location", "")).path.rpartition("/")[2]
                reply = b"".join(answer.body(MAX_ANSWER_BYTES))
            if not re.fullmatch(SESSION_ID, session):
                raise CloudError(f"the cloud named its session {session[:80]!r}: is it a ktl cloud?")
            return reply, session

        opened: tuple[bytes, str] = self._transport.retried(attempt)
        return opened

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
            with self._transport.request("PUT", path, headers=headers, content=payload) as answer:
                answer.table()

        try:
            self._transport.retried(attempt)
        except Refusal as refusal:
            if refusal.kind != "round-closed":  # too late to count, but what the round gives is for this edge too
                raise

    def _download(self, path: str, max_bytes: int = MAX_PAIR_BYTES) -> bytes:
        download = _Download(self._transport, f"{self._path}/{path}", max_bytes)
        payload: bytes | None = None
        while payload is None:
            payload = self._transport.retried(download.attempt)
        return payload

    def _table(self, path: str) -> dict[str, Any]:
        def attempt(progress: Callable[[], None]) -> dict[str, Any]:
            with self._transport.request("GET", path, headers={"Accept": JSON}) as answer:
                return answer.table()

        table: dict[str, Any] = self._transport.retried(attempt)
        return table


class _Download:
    """A payload that is gone on with where the connection broke off, and taken only if its digest is right."""

    def __init__(self, transport: Transport, path: str, max_bytes: int) -> None:
        self.transport = transport
        self.path = path
        self.max_bytes = max_bytes
        self.received = bytearray()
        self.etag = ""
        self._wait = WAIT_SECONDS
        self._state: Any = None
        self._changed = time.monotonic()

    def attempt(self, progress: Callable[[], None]) -> bytes | None:
        """The whole payload, or None while it is not ready. Raises as `Transport.request` does."""
        headers = {"Accept": f"{SAFETENSORS}, {JSON}"}
        if self.received:
            headers |= {"Range": f"bytes={len(self.received)}-", "If-Range": self.etag}
        wait, self._wait = self._wait, 0  # a network may drop what is silent for so long: then ask for less
        path = f"{self.path}?wait={wait}"
        with self.transport.request("GET", path, headers=headers, wait=wait) as answer:
            if answer.status == 202:
                self._wait = min(max(2 * wait, 1), WAIT_SECONDS)
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
        if state != self._state:
            self._state, self._changed = state, time.monotonic()
        elif time.monotonic() - self._changed > STANDSTILL_SECONDS:
            waits = f"round {state.get('round')} still waits for {state.get('edges_missing')} other edges"
            if "steps" in state:
                waits = f"the warm start is still at step {state.get('step')} of {state.get('steps')}"
            raise CloudError(f"{waits}, and nothing has changed for {STANDSTILL_SECONDS:.0f} s; go on with --resume")


def _edge_names(token_name: str, clients: int) -> list[str]:
    """The token's own name for one client, else NAME-0, NAME-1, ... Raises CloudError for one that is no name.

    The cloud pools in the order of the names: numbers of equal length put them in the order of the clients.
    """
    width = len(str(clients - 1))
    names = [token_name] if clients == 1 else [f"{token_name}-{client:0{width}}" for client in range(clients)]
    if not re.fullmatch(NAME, token_name):
        raise CloudError(f"the cloud calls this edge {token_name[:80]!r}: is it a ktl cloud?")
    if not re.fullmatch(NAME, names[-1]):
        raise UsageError(f"{names[-1]!r} is too long a name for an edge: use a token with a shorter name")
    return names


def ping(transport: Transport) -> dict[str, Any]:
    """What a cloud says of itself and of the token. Raises CloudError if it is none that this ktl can talk to."""

    def attempt(progress: Callable[[], None]) -> dict[str, Any]:
        with transport.request("GET", "/v1", headers={"Accept": JSON}) as answer:
            return answer.table()

    about: dict[str, Any] = transport.retried(attempt)
    try:
        protocols, _ = list(about["protocols"]), str(about["token"]["name"])
    except (KeyError, TypeError) as error:
        raise CloudError(f"{transport.access.url} answered, but not as a ktl cloud does: check the address") from error
    if VERSION not in protocols:
        raise CloudError(
            f"{transport.access.url} speaks protocols {protocols}, this ktl {VERSION}: update the older of the two"
        )
    return about
