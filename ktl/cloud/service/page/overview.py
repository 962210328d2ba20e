"""What the status page tells, read from the database in a few queries."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import func, select

from ktl.cloud.service.answers import SessionState
from ktl.cloud.service.database import Database
from ktl.cloud.service.models import DONE, CloudSession, Round
from ktl.cloud.service.page.round_images import Grid, Thumbnails
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.store import Store

MAX_SESSIONS = 30  # on the page
MINUTES = 10  # that the throughput is counted over


@dataclass(frozen=True)
class Throughput:
    """What was drawn in the last MINUTES, and what waits."""

    rounds: int
    pairs: int
    bytes: int
    queued: int
    stored_bytes: int


@dataclass(frozen=True)
class Overview:
    """All that the page shows: the sessions that were active last, and the images of one."""

    sessions: list[SessionState]
    session_count: int
    throughput: Throughput
    grid: Grid | None


def overview(database: Database, store: Store, thumbnails: Thumbnails, session: str | None) -> Overview:
    """The page's content; its images are the latest of `session`, or of any session if that is None."""
    since = time.time() - 60 * MINUTES
    with database.read() as rows:
        recent = select(CloudSession.id).order_by(CloudSession.active_at.desc(), CloudSession.id).limit(MAX_SESSIONS)
        ids = list(rows.scalars(recent))
        count = rows.scalar(select(func.count()).select_from(CloudSession)) or 0
        sums = select(func.count(), func.coalesce(func.sum(Round.pairs), 0), func.coalesce(func.sum(Round.size), 0))
        rounds, pairs, size = rows.execute(sums.where(Round.state == DONE, Round.finished_at >= since)).one()
        drawn = select(Round.session_id, Round.number).where(Round.state == DONE)
        if session is not None:
            drawn = drawn.where(Round.session_id == session)
        latest = rows.execute(drawn.order_by(Round.finished_at.desc(), Round.number.desc()).limit(1)).first()
    throughput = Throughput(rounds, int(pairs), int(size), store.queued(), store.stored_bytes())
    sessions = [state for each in ids if (state := _state(store, each)) is not None]
    return Overview(sessions, count, throughput, None if latest is None else _grid(thumbnails, *latest))


def _state(store: Store, session: str) -> SessionState | None:
    try:
        return store.session(session)
    except Refused:  # deleted since it was listed
        return None


def _grid(thumbnails: Thumbnails, session: str, number: int) -> Grid | None:
    try:
        return thumbnails.grid(session, number)
    except Refused:
        return None
