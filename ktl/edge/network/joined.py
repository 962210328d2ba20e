"""An edge's part in a session that somebody created for several edges: docs/how-to/many-devices.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ktl.edge.network.http import SessionFile
from ktl.edge.network.named_sessions import find_session, standing_in
from ktl.edge.network.rounds import HttpRounds, Stoppable
from ktl.edge.network.transport import Access, Transport
from ktl.errors import UsageError
from ktl.loop.connection import Standing
from ktl.loop.named_session import NamedSession
from ktl.wire import SessionRequest, decode_message, encode_message

NAMED = 5  # edges in a line, at most


class JoinedSession(HttpRounds):
    """Implements `ktl.loop.connection.SharedConnection`.

    It waits for other edges as long as the session lasts. `on_wait` hears what it waits for, and an empty text when it
    does no longer.
    """

    standstill = float("inf")

    def __init__(
        self,
        access: Access,
        name: str,
        run: Path,
        *,
        on_wait: Callable[[str], None] = lambda text: None,
        stoppable: Stoppable = nullcontext,
    ) -> None:
        """`name`: the session's; `run`: the run directory, which keeps its id in session.json."""
        super().__init__(Transport(access), clients=1, stoppable=stoppable)
        self.name = name
        self.run = run
        self.on_wait = on_wait
        self._rounds = ""  # how many, in words
        self._number = 1  # of the present round

    def open(
        self, request: bytes, answered: Sequence[Mapping[int, bytes]], pooled: Sequence[Mapping[int, bytes]] = ()
    ) -> bytes:
        """Finds the session, the same as before if the run has begun; what it was answered is the cloud's to keep.

        Raises UsageError where the session is another one than `request` says, or this edge has no part in it.
        """
        file, url = self.run / "session.json", self.transport.access.url
        kept = SessionFile.load(file)
        session = NamedSession.read(find_session(self.transport, (kept and kept.session) or self.name))
        if kept is None:
            self.run.mkdir(parents=True, exist_ok=True)
            SessionFile(url, session=session.id).save(file)
        own = self.own_name()
        if own not in [*session.members, session.owner]:
            raise UsageError(f"{own!r} is no edge of the session {session.name!r}, but {_named(session.members)}")
        _check_same(session, decode_message(request, SessionRequest))
        self._edges, self._path = [own], f"/v1/sessions/{session.id}"
        self._rounds = "" if session.rounds is None else f" of {session.rounds}"
        return encode_message(session.reply)

    def absent(self, round_index: int) -> str | None:
        """Why this edge has missed a round: the session has gone on to a later one."""
        self._number = round_index + 1
        latest = self.transport.table(self._path)["round"]
        if latest is None or latest["round"] <= self._number:
            return None
        return f"away: the session had gone on to round {latest['round']}"

    def exchange(self, uploads: Mapping[int, bytes]) -> bytes:
        """The round's prototypes up, pairs down, also for an edge that is late with them."""
        self._round = self._number - 1
        return super().exchange(uploads)

    def pool(self, uploads: Mapping[int, bytes]) -> bytes:
        """The round's class statistics up, those of all edges that were not late down."""
        self._round = self._number
        return super().pool(uploads)

    def standing(self, round_index: int) -> Standing:
        """Who took part in a round that has ended."""
        state = self.transport.table(f"{self._path}/rounds/{round_index + 1}")
        standing = standing_in(state)
        return standing if state["pooling"] else replace(standing, edges=state["edges_in"])

    def ready(self) -> None:
        """Says that it waits no longer."""
        self.on_wait("")

    def waiting(self, state: dict[str, Any]) -> None:
        """Says what it waits for."""
        self.on_wait(_in_words(state, self._rounds))


def _check_same(session: NamedSession, request: SessionRequest) -> None:
    """Of warm starts an edge asks for its own model's at most."""
    there, here = replace(session.request, warm_starts=[]), replace(request, warm_starts=[])
    for name in (field.name for field in fields(SessionRequest)):
        if getattr(there, name) != getattr(here, name):
            raise UsageError(
                f"{name} of the session {session.name!r} is {getattr(there, name)!r}, and of this edge "
                f"{getattr(here, name)!r}: its images or settings are not those that the session is for"
            )


def _in_words(state: Mapping[str, Any], rounds: str) -> str:
    """What is missing, of a ROUND, POOLING or warm start's state that is not ready."""
    if "model" in state:
        return f"the cloud makes a warm start: step {state['step']} of {state['steps']}"
    where = f"round {state['round']}{rounds}"
    if state.get("state", "collecting") != "collecting":
        return f"{where}: the cloud draws its pairs"
    there = len(state["edges_in"])
    what = "are in" if "state" in state else "have trained"
    parts = [f"{where}: {there} of {there + state['edges_missing']} devices {what}"]
    if there:
        parts.append(f" ({_named(state['edges_in'])})")
    if state["closes_at"]:
        closes = datetime.fromisoformat(state["closes_at"].replace("Z", "+00:00")).astimezone()
        parts.append(f"; goes on without the others at {closes:%b %d, %H:%M:%S}")
    return "".join(parts)


def _named(edges: Sequence[str]) -> str:
    more = f" and {len(edges) - NAMED} more" if len(edges) > NAMED else ""
    return ", ".join(edges[:NAMED]) + more
