"""Deleting a session, on a full disk too: that is when it is wanted most."""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, select, tuple_
from sqlalchemy.exc import OperationalError

from ktl.cloud.service.database import Database
from ktl.cloud.service.models import CloudSession, Piece

PIECES_AT_ONCE = 4


def delete_session(database: Database, session_id: str, idle_since: float = float("inf")) -> bool:
    """Deletes a session with its data, in one transaction if that can be. Whether it was there, and idle for so long.

    SQLite overwrites what it deletes, and writes all of that into its log first. Where the disk has no room for the
    log, the pieces go a few at a time: a server that is killed meanwhile leaves a session without some of its pairs.
    """
    this = CloudSession.id == session_id, CloudSession.active_at < idle_since
    try:
        return _delete(database, *this)
    except OperationalError:
        if not database.is_sqlite:
            raise
    with database.room_to_delete():
        while _delete_pieces(database, session_id):
            database.settle()
        return _delete(database, *this)


def _delete(database: Database, *this: ColumnElement[bool]) -> bool:
    with database.write() as rows:
        return bool(getattr(rows.execute(delete(CloudSession).where(*this)), "rowcount", 0))


def _delete_pieces(database: Database, session_id: str) -> bool:
    """Whether there were any."""
    key = Piece.session_id, Piece.round, Piece.number
    with database.write() as rows:
        some = rows.execute(select(*key).where(Piece.session_id == session_id).limit(PIECES_AT_ONCE)).all()
        rows.execute(
            delete(Piece).where(Piece.session_id == session_id, tuple_(*key).in_([tuple(each) for each in some]))
        )
    return bool(some)
