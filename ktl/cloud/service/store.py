"""Sessions, uploads and pairs in SQL. What a function here has returned is on the disk."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session as Rows

from ktl.cloud.round_bounds import NOTHING, RoundBounds
from ktl.cloud.service.accounts import (
    EVERYONE,
    ROW_BYTES,
    Quotas,
    add_bytes,
    add_session,
    promise_bytes,
    promise_pairs,
)
from ktl.cloud.service.answers import RoundState, SessionState
from ktl.cloud.service.cleaning import Cleaning
from ktl.cloud.service.database import Database
from ktl.cloud.service.jobs import Jobs
from ktl.cloud.service.lookup import (
    claim_edge,
    find_session,
    may_see,
    refuse_after_failure,
    refuse_strangers,
    refuse_taken,
    visible_to,
)
from ktl.cloud.service.models import (
    COLLECTING,
    DONE,
    DRAWING,
    PIECE_BYTES,
    QUEUED,
    CloudSession,
    Member,
    Piece,
    Round,
    Upload,
    Usage,
)
from ktl.cloud.service.pooling import Pooling
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.states import round_state, session_state


@dataclass(frozen=True)
class Opening:
    """What a client asks for when it opens a session; `request` and `reply` are messages of `ktl.wire`."""

    owner: str
    idempotency_key: str
    request: bytes
    reply: bytes
    quorum: int = 1
    deadline: float | None = None  # seconds after a round's first upload
    members: tuple[str, ...] = ()
    name: str | None = None
    rounds: int | None = None
    classes: str | None = None
    bounds: RoundBounds = NOTHING  # of each of its rounds

    def demand(self) -> str:
        """Equal for equal openings, those of earlier releases, which had no names and the like, included."""
        named = [self.name, self.rounds, self.classes]
        asked = [self.request.decode(), self.quorum, self.deadline, sorted(set(self.members))]
        return json.dumps(asked + (named if any(named) else []))


@dataclass(frozen=True)
class Stored:
    """A finished round's pairs: their size, and their SHA-256."""

    session: str
    round: int
    size: int
    digest: bytes


class Store:
    """All that the service remembers, but for tokens."""

    def __init__(self, database: Database, quotas: Quotas | None = None) -> None:
        self.database = database
        self.quotas = quotas or Quotas()
        self.jobs = Jobs(database, self.quotas)
        self.pooling = Pooling(database, self.quotas)
        self.cleaning = Cleaning(database)

    # sessions

    def open_session(self, opening: Opening) -> tuple[str, bytes, bool]:
        """The session's id, its reply, and whether it is new. Raises Refused (conflict, invalid, busy)."""
        with self.database.write() as rows:
            self.database.take_turns(rows, opening.owner)  # the same key may come to two servers at once
            same_key = select(CloudSession).where(
                CloudSession.owner == opening.owner, CloudSession.idempotency_key == opening.idempotency_key
            )
            known = rows.scalar(same_key)
            if known is not None:
                if known.demand != opening.demand():
                    raise Refused("conflict", "this Idempotency-Key opened another session; send a new one")
                return known.id, known.reply, False
            refuse_strangers(rows, opening.members)
            refuse_taken(rows, opening.owner, opening.name)
            session = _new_session(opening)
            rows.add(session)
            rows.flush()
            members = sorted(set(opening.members))
            rows.add_all(Member(session_id=session.id, name=name) for name in members)
            told = len(opening.request) + len(opening.reply) + len(session.demand)
            add_session(rows, session, told + ROW_BYTES * len(members), self.quotas)
        return session.id, session.reply, True

    def sessions(
        self, name: str | None, limit: int = 100, after: str | None = None, called: str | None = None
    ) -> list[SessionState]:
        """Sessions that the token name opened or is a member of (all for None), newest first; those `called` so."""
        with self.database.read() as rows:
            newest = select(CloudSession).order_by(CloudSession.opened_at.desc(), CloudSession.id.desc())
            query = newest.where(CloudSession.deleted_at.is_(None)).limit(limit)
            if name is not None:
                query = query.where(visible_to(name))
            if called is not None:
                query = query.where(CloudSession.name == called)
            if after is not None:
                last = rows.get(CloudSession, after)
                if last is None or (name is not None and not may_see(rows, last, name)):
                    raise Refused("not-found", f"there is no session {after} to list after")
                query = query.where(tuple_(CloudSession.opened_at, CloudSession.id) < (last.opened_at, last.id))
            return [session_state(rows, session) for session in rows.scalars(query)]

    def session(self, session_id: str, name: str | None = None) -> SessionState:
        """One session. Raises Refused (not-found) when there is none, or none that the token name may see."""
        with self.database.read() as rows:
            return session_state(rows, find_session(rows, session_id, name))

    def request(self, session_id: str, name: str | None = None) -> bytes:
        """The message that opened a session. Raises Refused (not-found)."""
        with self.database.read() as rows:
            return find_session(rows, session_id, name).request

    def opening(self, session_id: str, name: str | None = None) -> tuple[bytes, bytes]:
        """The messages that opened a session: what was asked, and the reply. Raises Refused (not-found)."""
        with self.database.read() as rows:
            session = find_session(rows, session_id, name)
            return session.request, session.reply

    def delete_session(self, session_id: str, name: str | None = None) -> None:
        """Deletes a session with its data. Raises Refused (not-found, or forbidden for one who is only a member)."""
        with self.database.read() as rows:
            session = find_session(rows, session_id, name)
            if name not in (None, session.owner):
                raise Refused("forbidden", "only the token that opened a session, or an admin, may delete it")
        self.cleaning.delete(session_id)

    # rounds

    def put_prototypes(
        self, session_id: str, number: int, edge: str, payload: bytes, name: str, sees: str | None
    ) -> tuple[RoundState, bool]:
        """Takes an edge's prototypes in; the quorum's last upload queues the round. True if they are new.

        `name` is the caller's, `sees` too unless it is an admin's (None).

        Raises Refused (not-found, forbidden, conflict, round-closed, round-not-open, round-failed, busy).
        """
        with self.database.write() as rows:
            session = find_session(rows, session_id, sees, lock=True)
            claim_edge(rows, session, edge, name)
            known = rows.get(Upload, (session_id, number, edge))
            if known is not None:
                if known.payload != payload:
                    raise Refused(
                        "conflict",
                        f"edge {edge!r} sent other prototypes for round {number} before; send the same bytes, or go on "
                        "to the next round",
                    )
                return round_state(rows, session, rows.get_one(Round, (session_id, number))), False
            round_ = _open_round(rows, session, number, self.quotas)
            add_bytes(rows, session, len(payload) + 2 * ROW_BYTES, self.quotas)  # its row, and its edge's
            now = time.time()
            rows.add(Upload(session_id=session_id, round=number, edge=edge, payload=payload, received_at=now))
            rows.flush()
            session.active_at = now
            uploads = select(func.count()).where(Upload.session_id == session_id, Upload.round == number)
            if rows.scalar(uploads) == session.quorum:
                promise_pairs(rows, session, self.quotas)
                round_.state, round_.queued_at = QUEUED, now
            rows.flush()
            return round_state(rows, session, round_), True

    def round(self, session_id: str, number: int, name: str | None = None) -> RoundState:
        """Where a round is. Raises Refused (not-found, round-failed) for one that cannot begin yet, too."""
        with self.database.read() as rows:
            session = find_session(rows, session_id, name)
            round_ = rows.get(Round, (session_id, number))
            if round_ is None:
                if not _may_begin(rows, session_id, number):
                    raise Refused("not-found", f"round {number} has not begun")
                round_ = Round(session_id=session_id, number=number, state=COLLECTING, pairs=0, size=0)
            return round_state(rows, session, round_)

    def rounds(self, session_id: str) -> list[RoundState]:
        """Every round of a session so far, in order."""
        with self.database.read() as rows:
            session = find_session(rows, session_id, None)
            query = select(Round).where(Round.session_id == session_id).order_by(Round.number)
            return [round_state(rows, session, each) for each in rows.scalars(query)]

    def stored(self, session_id: str, number: int) -> Stored:
        """What `read` can read of a finished round. Raises Refused (not-found)."""
        with self.database.read() as rows:
            round_ = rows.get(Round, (session_id, number))
            if round_ is None or round_.digest is None:
                raise Refused("not-found", f"round {number} of this session has no pairs")
            return Stored(session_id, number, round_.size, round_.digest)

    def read(self, stored: Stored, start: int, end: int) -> Iterator[bytes]:
        """Bytes start..end-1 of a round's pairs, piece by piece. Stops early if the session is deleted meanwhile."""
        for number in range(start // PIECE_BYTES, -(-end // PIECE_BYTES)):
            with self.database.read() as rows:
                piece = rows.get(Piece, (stored.session, stored.round, number))
            if piece is None:
                return
            offset = number * PIECE_BYTES
            yield piece.data[max(start - offset, 0) : end - offset]

    # room

    def collect_garbage(self, keep_seconds: float) -> int:
        """Deletes sessions that nothing happened in for `keep_seconds`, and gives their room back; how many."""
        return self.cleaning.collect(keep_seconds)

    def queued(self) -> int:
        """Rounds that wait or are being drawn."""
        with self.database.read() as rows:
            return rows.scalar(select(func.count()).where(Round.state.in_((QUEUED, DRAWING)))) or 0

    def stored_bytes(self) -> int:
        """Bytes of all sessions, with what is promised to their rounds."""
        with self.database.read() as rows:
            known = rows.get(Usage, EVERYONE)
            return 0 if known is None else known.bytes


def _may_begin(rows: Rows, session_id: str, number: int) -> bool:
    refuse_after_failure(rows, session_id, number)
    before = rows.get(Round, (session_id, number - 1)) if number > 1 else None
    return number == 1 or (before is not None and before.state == DONE)


def _new_session(opening: Opening) -> CloudSession:
    now = time.time()
    return CloudSession(
        id=secrets.token_hex(16),
        owner=opening.owner,
        idempotency_key=opening.idempotency_key,
        demand=opening.demand(),
        request=opening.request,
        reply=opening.reply,
        quorum=opening.quorum,
        deadline=opening.deadline,
        name=opening.name,
        rounds=opening.rounds,
        classes=opening.classes,
        opened_at=now,
        active_at=now,
        round_pairs=opening.bounds.pairs,
        round_bytes=opening.bounds.payload,
    )


def _open_round(rows: Rows, session: CloudSession, number: int, quotas: Quotas) -> Round:
    """The round if it still takes uploads, made if this is its first."""
    round_ = rows.get(Round, (session.id, number))
    if round_ is not None:
        if round_.state != COLLECTING:
            raise Refused("round-closed", f"round {number} went on without this edge; take part in the next one")
        return round_
    if session.rounds is not None and number > session.rounds:
        raise Refused("invalid", f"round {number} is beyond the last: the session has {session.rounds} rounds")
    if not _may_begin(rows, session.id, number):
        raise Refused("round-not-open", f"round {number} is not open: round {number - 1} is not done")
    closes_at = None if session.deadline is None else time.time() + session.deadline
    opened = Round(session_id=session.id, number=number, state=COLLECTING, closes_at=closes_at)
    rows.add(opened)
    rows.flush()
    promise_bytes(rows, session, opened, session.round_bytes + ROW_BYTES, quotas)
    return opened
