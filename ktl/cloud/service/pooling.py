"""Class statistics in SQL: what the edges of a session send after a round, and what all of it adds up to.

Nothing is queued: whoever asks first once a round's statistics are in adds them up, and the sum is kept. It is the same
whoever does so and however often, so a server that is killed on the way loses nothing.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session as Rows

from ktl.class_statistics import MAX_ARCHITECTURES
from ktl.cloud.pooling import pool_payloads
from ktl.cloud.service.accounts import ROW_BYTES, Quotas, add_bytes, promise_bytes, settle
from ktl.cloud.service.answers import PoolingState
from ktl.cloud.service.database import Database
from ktl.cloud.service.lookup import claim_edge, find_session, refuse_after_failure
from ktl.cloud.service.models import DONE, PIECE_BYTES, CloudSession, Pooled, Round, Statistics
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.states import is_pooled, pooling_state
from ktl.wire import SessionReply, SessionRequest, decode_message, statistics_bytes

SUM_HEADER_BYTES = 1024  # of the names of one sum's arrays


@dataclass(frozen=True)
class Sum:
    """Pooled class statistics: the size of the encoded payload in bytes, and its SHA-256."""

    size: int
    digest: bytes


class Pooling:
    """A round's class statistics are pooled when all edges that sent prototypes have sent theirs, or at a deadline."""

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self.database = database
        self.quotas = quotas
        self._adding = threading.Lock()  # all edges of a round ask at once: one of them adds up

    def put(
        self, session_id: str, number: int, edge: str, payload: bytes, name: str, sees: str | None
    ) -> tuple[PoolingState, bool]:
        """Takes an edge's statistics in. True if they are new. `name` is the caller's, `sees` None for an admin.

        Raises Refused (not-found, forbidden, conflict, round-closed, round-not-open, round-failed, busy).
        """
        with self.database.write() as rows:
            session = find_session(rows, session_id, sees, lock=True)
            round_ = rows.get(Round, (session_id, number))
            if round_ is None or round_.state != DONE:
                refuse_after_failure(rows, session_id, number)
                raise Refused("round-not-open", f"round {number} has no pairs yet to learn from")
            claim_edge(rows, session, edge, name)
            known = rows.get(Statistics, (session_id, number, edge))
            if known is not None:
                if known.payload != payload:
                    raise Refused("conflict", f"edge {edge!r} sent other statistics for round {number} before")
                return pooling_state(rows, round_), False
            if is_pooled(rows, round_):
                raise Refused("round-closed", f"round {number} was pooled without this edge; take part in the next one")
            if round_.promised == 0:
                promise_bytes(rows, session, round_, _largest_sum(session), self.quotas)
            add_bytes(rows, session, len(payload) + 2 * ROW_BYTES, self.quotas)
            now = time.time()
            rows.add(Statistics(session_id=session_id, round=number, edge=edge, payload=payload, received_at=now))
            if session.deadline is not None and round_.pooling_closes_at is None:
                round_.pooling_closes_at = now + session.deadline
            session.active_at = now
            rows.flush()
            return pooling_state(rows, round_), True

    def state(self, session_id: str, number: int, name: str | None = None) -> PoolingState:
        """Whose statistics of a round are in. Raises Refused (not-found, also before the round began; round-failed)."""
        with self.database.read() as rows:
            find_session(rows, session_id, name)
            return pooling_state(rows, _round(rows, session_id, number))

    def sum(self, session_id: str, number: int, name: str | None = None) -> Sum | None:
        """The statistics of all edges as of a round, each edge's latest ones; None until the round's are in.

        Raises Refused (not-found, round-failed).
        """
        with self.database.read() as rows:
            find_session(rows, session_id, name)
            known = _sum(rows, session_id, number)
            if known is None and not is_pooled(rows, _round(rows, session_id, number)):
                return None
        return known or self._add_up(session_id, number)

    def read(self, session_id: str, number: int, start: int, end: int) -> Iterator[bytes]:
        """Bytes start..end-1 of a round's sum, piece by piece. Stops early if the session is deleted meanwhile."""
        for offset in range(start, end, PIECE_BYTES):
            part = func.substr(Pooled.payload, offset + 1, min(PIECE_BYTES, end - offset))
            with self.database.read() as rows:
                piece = rows.scalar(select(part).where(Pooled.session_id == session_id, Pooled.round == number))
            if piece is None:
                return
            yield piece

    def latest(self, session_id: str, before: int) -> bytes | None:
        """The last sum of a round before the given one, which may be added up only now."""
        if before > 1:
            self.sum(session_id, before - 1)
        with self.database.read() as rows:
            query = select(Pooled.payload).where(Pooled.session_id == session_id, Pooled.round < before)
            return rows.scalar(query.order_by(Pooled.round.desc()).limit(1))

    def close_due(self) -> list[tuple[str, int]]:
        """Adds up the rounds whose deadline has passed, with the edges that are in."""
        with self.database.read() as rows:
            added = select(Pooled.round).where(Pooled.session_id == Round.session_id, Pooled.round == Round.number)
            due = select(Round).where(Round.pooling_closes_at <= time.time(), ~added.exists())
            rounds = [(round_.session_id, round_.number) for round_ in rows.scalars(due)]
        for session_id, number in rounds:
            self._add_up(session_id, number)
        return rounds

    def _add_up(self, session_id: str, number: int) -> Sum:
        with self._adding:
            with self.database.read() as rows:
                known = _sum(rows, session_id, number)
                if known is not None:
                    return known
                session = find_session(rows, session_id, None)
                request = decode_message(session.request, SessionRequest)
                parts = _latest(rows, session_id, number - request.memory, number)
            dimension = decode_message(session.reply, SessionReply).latent_dim
            payload = pool_payloads(_Stored(self.database, session_id, parts), request.num_classes, dimension)
            digest = hashlib.sha256(payload).digest()
            with self.database.write() as rows:
                live = rows.get(CloudSession, session_id, with_for_update=True)
                if live is not None and rows.get(Pooled, (session_id, number)) is None:  # else another server was first
                    rows.add(Pooled(session_id=session_id, round=number, payload=payload, digest=digest))
                    settle(rows, live, rows.get_one(Round, (session_id, number)), len(payload))
            return Sum(len(payload), digest)


def _largest_sum(session: CloudSession) -> int:
    """Bytes that pooled class statistics of a session may take."""
    classes = decode_message(session.request, SessionRequest).num_classes
    dimension = decode_message(session.reply, SessionReply).latent_dim
    return MAX_ARCHITECTURES * (statistics_bytes(classes, dimension) + SUM_HEADER_BYTES)


def _sum(rows: Rows, session_id: str, number: int) -> Sum | None:
    of_round = Pooled.session_id == session_id, Pooled.round == number
    found = rows.execute(select(func.length(Pooled.payload), Pooled.digest).where(*of_round)).first()
    return None if found is None else Sum(*found)


def _round(rows: Rows, session_id: str, number: int) -> Round:
    refuse_after_failure(rows, session_id, number)
    round_ = rows.get(Round, (session_id, number))
    if round_ is None:
        raise Refused("not-found", f"round {number} has not begun")
    return round_


def _latest(rows: Rows, session_id: str, after: int, until: int) -> list[tuple[str, int]]:
    """Each edge's name and its latest round of the rounds after..until, in the order of the names."""
    here = (Statistics.session_id == session_id, Statistics.round > after, Statistics.round <= until)
    latest = select(Statistics.edge, func.max(Statistics.round)).where(*here).group_by(Statistics.edge)
    found = [(edge, number) for edge, number in rows.execute(latest)]
    return sorted(found)  # a database's collation may order names in its own way


@dataclass(frozen=True)
class _Stored:
    """Statistics that are read as they are asked for. Raises Refused (not-found) once the session is deleted."""

    database: Database
    session: str
    parts: list[tuple[str, int]]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> bytes:
        edge, number = self.parts[index]
        with self.database.read() as rows:
            part = rows.get(Statistics, (self.session, number, edge))
        if part is None:
            raise Refused("not-found", f"the session {self.session} was deleted")
        return part.payload
