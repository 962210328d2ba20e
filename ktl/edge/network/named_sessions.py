"""Sessions that are created for several edges, and found by name: docs/how-to/many-devices.md."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from ktl.edge.network.transport import Refusal, Transport
from ktl.errors import UsageError
from ktl.loop.connection import Standing
from ktl.protocol import JSON, SESSION_ID
from ktl.wire import SessionRequest, encode_message

Table = dict[str, Any]  # an object of docs/protocol.md


def create_session(
    transport: Transport,
    request: SessionRequest,
    *,
    name: str,
    edges: Sequence[str],
    quorum: int,
    rounds: int,
    deadline: float | None,
    classes: str,
) -> str:
    """Opens a session whose edges are the tokens of these names; its id.

    deadline: seconds after a round's first upload. Raises CloudError where the cloud refuses.
    """
    parameters = {"name": name, "quorum": quorum, "rounds": rounds, "classes": classes, "member": list(edges)}
    if deadline is not None:
        parameters["deadline"] = deadline
    path = f"/v1/sessions?{urlencode(parameters, doseq=True)}"
    headers = {"Content-Type": JSON, "Accept": JSON, "Idempotency-Key": secrets.token_hex(16)}

    def attempt(progress: Callable[[], None]) -> str:
        with transport.request("POST", path, headers=headers, content=encode_message(request)) as answer:
            answer.table()
            return answer.headers.get("location", "").rpartition("/")[2]

    opened: str = transport.retried(attempt)
    return opened


def all_sessions(transport: Transport) -> Iterator[Table]:
    """Every SESSION that the token sees, newest first."""
    after = ""
    while True:
        page = transport.table(f"/v1/sessions{after}")
        yield from page["sessions"]
        if page["next"] is None:
            return
        after = f"?after={page['next']}"


def find_session(transport: Transport, name: str) -> Table:
    """The one SESSION of this name, or id, that the token sees.

    Raises UsageError where there is none, or several of this name.
    """
    if re.fullmatch(SESSION_ID, name):
        try:
            return transport.table(f"/v1/sessions/{name}")
        except Refusal as refusal:
            if refusal.kind != "not-found":
                raise
            found = []
    else:
        found = transport.table(f"/v1/sessions?{urlencode({'name': name})}")["sessions"]
    if not found:
        raise UsageError(
            f"{transport.access.url} has no session {name!r} for this token: ask whoever created it whether it is "
            "still there, and whether one of its edges has this token's name"
        )
    if len(found) > 1:
        ids = ", ".join(f"{each['id']} of {each['owner']}" for each in found)
        raise UsageError(f"several sessions are called {name!r}: give the id of one ({ids})")
    session: Table = found[0]
    return session


def rounds_of(transport: Transport, session: Mapping[str, Any]) -> list[Table]:
    """A ROUND for each that a session has begun, in order."""
    last = 0 if session["round"] is None else int(session["round"]["round"])
    return [transport.table(f"/v1/sessions/{session['id']}/rounds/{number}") for number in range(1, last + 1)]


def standing_in(state: Mapping[str, Any]) -> Standing:
    """Who has pooled in a ROUND, and who was late with prototypes or with class statistics."""
    pooling = state["pooling"] or {"edges_in": [], "edges_late": []}
    return Standing(pooling["edges_in"], sorted({*state["edges_late"], *pooling["edges_late"]}))


def delete_session(transport: Transport, session_id: str) -> None:
    """With all its data. Raises Refusal, of kind "not-found" where it is gone already."""

    def attempt(progress: Callable[[], None]) -> None:
        with transport.request("DELETE", f"/v1/sessions/{session_id}", headers={}):
            pass

    transport.retried(attempt)
