"""A session of one or more edges with a cloud over HTTP: docs/reference/protocol.md, from the edges' side."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from ktl.edge.network.rounds import HttpRounds, Stoppable
from ktl.edge.network.transport import MAX_ANSWER_BYTES, Access, Refusal, Transport
from ktl.errors import CheckpointError, CloudError, CloudUnreachable, UsageError
from ktl.files import write_json
from ktl.protocol import JSON, NAME, SESSION_ID


@dataclass(frozen=True)
class SessionFile:
    """What a run directory keeps of its session: enough to find it again after any crash.

    `key` and `request` are empty where somebody else opened the session.
    """

    url: str
    key: str = ""  # makes the opening idempotent
    request: str = ""  # SHA-256 of what the key stands for: the request, and the quorum if it is not 1
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


class HttpCloud(HttpRounds):
    """A cloud on another machine, in a session of this run's own. Implements `ktl.loop.connection.CloudConnection`.

    `run` is the run directory: session.json in it is written before the session is opened, so that an edge that was
    killed at any moment finds its session again. Else as `HttpRounds`.
    """

    def __init__(self, access: Access, run: Path, clients: int = 1, *, stoppable: Stoppable = nullcontext) -> None:
        super().__init__(Transport(access), clients, stoppable)
        self.run = run

    def open(
        self, request: bytes, answered: Sequence[Mapping[int, bytes]], pooled: Sequence[Mapping[int, bytes]] = ()
    ) -> bytes:
        """Starts a session, or takes one up again after the rounds whose uploads are given.

        A session that the cloud no longer has is started anew, and those uploads are sent again.
        """
        self._edges = _edge_names(self.own_name(), self.clients)
        kept = self._session_file(request)
        reply, session = self._opened(request, kept.key)
        SessionFile(kept.url, kept.key, kept.request, session).save(self._file)
        self._path = f"/v1/sessions/{session}"
        known = self.transport.table(self._path)["round"]
        for index in range(max(known["round"] - 1, 0) if known else 0, len(answered)):
            self._upload(index + 1, "prototypes", answered[index])
            if index < len(pooled) and pooled[index]:
                self._upload(index + 1, "statistics", pooled[index])
        self._round = len(answered)
        return reply

    def delete_session(self) -> None:
        """Deletes the run's session on the cloud, if it still exists. Asked once only."""
        kept = SessionFile.load(self._file)
        if kept is None or kept.session is None:
            return
        try:
            with self.transport.request("DELETE", f"/v1/sessions/{kept.session}", headers={}):
                pass
        except Refusal as refusal:
            if refusal.kind != "not-found":
                raise
        except httpx.TransportError as error:
            raise CloudUnreachable(f"{self.transport.access.url} could not be reached ({error})") from error

    @property
    def _query(self) -> str:
        return "" if self.clients == 1 else f"?quorum={self.clients}"

    @property
    def _file(self) -> Path:
        return self.run / "session.json"

    def _session_file(self, request: bytes) -> SessionFile:
        """What session.json holds if it is of this request to this cloud; else a new key, saved before it is used."""
        url, digest = self.transport.access.url, hashlib.sha256(self._query.encode() + request).hexdigest()
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
            with self.transport.request("POST", path, headers=headers, content=request) as answer:
                session = urlsplit(answer.headers.get("location", "")).path.rpartition("/")[2]
                reply = b"".join(answer.body(MAX_ANSWER_BYTES))
            if not re.fullmatch(SESSION_ID, session):
                raise CloudError(f"the cloud named its session {session[:80]!r}: is it a ktl cloud?")
            return reply, session

        opened: tuple[bytes, str] = self.transport.retried(attempt)
        return opened


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
