"""Sessions are deleted in small steps, between which others write: first nobody finds them, then their rows go."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from sqlalchemy import delete, exists, or_, select, tuple_, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session as Rows

from ktl.cloud.service.accounts import remove_session
from ktl.cloud.service.database import Database
from ktl.cloud.service.models import (
    COLLECTING,
    DRAWING,
    FAILED,
    QUEUED,
    CloudSession,
    OfRound,
    Piece,
    Pooled,
    Round,
    Statistics,
    Upload,
)

ROWS_AT_ONCE = 16  # pieces of 256 KiB each, say
SESSIONS_AT_ONCE = 100
CLEAN_EVERY = 3600.0  # seconds
COMPACT_EVERY = 5.0  # seconds: it holds those who write up
JUMP = 60.0  # seconds by which the clock may be set without being mistrusted

Result = TypeVar("Result")

log = logging.getLogger("ktl.cloud")


def bury(rows: Rows, session: CloudSession) -> None:
    """From here on nobody finds the session, and none of its rounds is drawn or pooled."""
    session.deleted_at = time.time()
    session.idempotency_key = f"deleted {session.id}"  # its own opens another one
    of_session = update(Round).where(Round.session_id == session.id)
    rows.execute(of_session.values(pooling_closes_at=None))
    rows.execute(of_session.where(Round.state.in_((COLLECTING, QUEUED, DRAWING))).values(state=FAILED, error="deleted"))


class Cleaning:
    """Deletes what is buried, and buries sessions that have been idle for long."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._compacted, self._tried = True, -float("inf")
        self._cleaned = time.monotonic()
        self._clocks = (time.time(), time.monotonic())
        self._jumped_at = -float("inf")  # by the clock that cannot be set

    def tick(self, keep_seconds: float) -> None:
        """To be called every few seconds: overwrites what was deleted, and looks for idle sessions once an hour.

        After the clock was set by more than JUMP nobody knows how long sessions have been idle: then none is deleted
        for their age until they could have reached it since.
        """
        wall, steady = time.time(), time.monotonic()
        jump = (wall - self._clocks[0]) - (steady - self._clocks[1])
        self._clocks = (wall, steady)
        if abs(jump) > JUMP:
            self._jumped_at = steady
            log.warning("the clock was set: no session is deleted for its age for now", extra={"seconds": round(jump)})
        if steady - self._cleaned > CLEAN_EVERY and steady - self._jumped_at > keep_seconds:
            self._cleaned = steady
            self.collect(keep_seconds)
        if not self._compacted and steady - self._tried >= COMPACT_EVERY:
            self._tried = steady
            self._compacted = self.database.compact()

    def collect(self, keep_seconds: float) -> int:
        """Deletes sessions that were idle for so long, and what was begun to be deleted; how many. Room is given back.

        One whose round waits for its deadline, or to be drawn, is not idle.
        """
        count = self._with_room(lambda after_each: self._collect(keep_seconds, after_each))
        if count:
            self._compacted = self.database.compact()
        return count

    def delete(self, session_id: str) -> None:
        """Buries a session, and removes its rows."""

        def remove(after_each: Callable[[], None]) -> None:
            with self.database.write() as rows:
                session = rows.get(CloudSession, session_id, with_for_update=True)
                if session is not None and session.deleted_at is None:
                    bury(rows, session)
            self._clear(session_id, after_each)

        self._with_room(remove)

    def _with_room(self, work: Callable[[Callable[[], None]], Result]) -> Result:
        """Deletes, on a full disk too: that is when it is wanted most.

        SQLite overwrites what it deletes, and writes all of that into its log first. Where the disk has no room for the
        log, there is a reserve, and the log is emptied after each step.
        """
        try:
            return work(lambda: None)
        except OperationalError:
            if not self.database.is_sqlite:
                raise
        with self.database.room_to_delete():
            return work(self.database.settle)

    def _collect(self, keep_seconds: float, after_each: Callable[[], None]) -> int:
        count = 0
        for session_id in self._buried(keep_seconds):
            self._clear(session_id, after_each)
            count += 1
        return count

    def _clear(self, session_id: str, after_each: Callable[[], None]) -> None:
        """Removes a buried session's rows, few at a time."""
        for kind in (Piece, Upload, Statistics, Pooled):
            while self._removed(kind, session_id):
                after_each()
        with self.database.write() as rows:
            session = rows.get(CloudSession, session_id, with_for_update=True)
            if session is not None:
                remove_session(rows, session)
                rows.execute(delete(CloudSession).where(CloudSession.id == session_id))
        self._compacted = False

    def _removed(self, kind: type[OfRound], session_id: str) -> bool:
        keys = tuple(kind.__table__.primary_key)  # type: ignore[attr-defined]
        with self.database.write() as rows:
            some = select(*keys).where(kind.session_id == session_id).limit(ROWS_AT_ONCE)
            few = rows.execute(some.with_for_update(skip_locked=True)).all()  # another server may be at others
            if few:
                rows.execute(delete(kind).where(tuple_(*keys).in_([tuple(row) for row in few])))
        return bool(few)

    def _buried(self, keep_seconds: float) -> Iterator[str]:
        """Sessions that are to be removed, those that were idle too long among them."""
        now = time.time()
        awaited = exists().where(
            Round.session_id == CloudSession.id,
            or_(Round.closes_at > now, Round.pooling_closes_at > now, Round.state.in_((QUEUED, DRAWING))),
        )
        idle = select(CloudSession).where(
            CloudSession.deleted_at.is_(None), CloudSession.active_at < now - keep_seconds, ~awaited
        )
        while True:
            with self.database.write() as rows:
                few = rows.scalars(idle.limit(SESSIONS_AT_ONCE).with_for_update(skip_locked=True)).all()
                for session in few:
                    bury(rows, session)
            with self.database.read() as rows:
                buried = select(CloudSession.id).where(CloudSession.deleted_at.is_not(None)).limit(SESSIONS_AT_ONCE)
                found = list(rows.scalars(buried))
            yield from found
            if not found:
                return
