"""What the rows of sessions and rounds say, as the messages that callers get."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone

from sqlalchemy import select
from sqlalchemy.orm import Session as Rows

from ktl.cloud.service.answers import RoundState, Seconds, SessionState
from ktl.cloud.service.models import COLLECTING, CloudSession, Member, Round, Upload


def _edges(rows: Rows, session_id: str, number: int) -> list[str]:
    return sorted(rows.scalars(select(Upload.edge).where(Upload.session_id == session_id, Upload.round == number)))


def round_state(rows: Rows, session: CloudSession, round_: Round) -> RoundState:
    """Where a round of a session is, who is in, and who is late."""
    edges_in = _edges(rows, session.id, round_.number)
    closed = round_.state != COLLECTING
    expected = _edges(rows, session.id, round_.number - 1) if closed and round_.number > 1 else []
    seconds = None
    if round_.alignment_seconds is not None and round_.generation_seconds is not None:
        seconds = Seconds(alignment=round_.alignment_seconds, generation=round_.generation_seconds)
    return RoundState(
        round=round_.number,
        state=round_.state,  # type: ignore[arg-type]
        edges_in=edges_in,
        edges_missing=0 if closed else max(session.quorum - len(edges_in), 0),
        edges_late=sorted(set(expected) - set(edges_in)),
        quorum=session.quorum,
        closes_at=None if round_.closes_at is None else utc(round_.closes_at),
        pairs=round_.pairs,
        bytes=round_.size,
        error=round_.error,
        seconds=seconds,
    )


def session_state(rows: Rows, session: CloudSession) -> SessionState:
    """A session and its latest round."""
    latest = select(Round).where(Round.session_id == session.id).order_by(Round.number.desc()).limit(1)
    round_ = rows.scalar(latest)
    members: Sequence[str] = rows.scalars(select(Member.name).where(Member.session_id == session.id)).all()
    return SessionState(
        id=session.id,
        owner=session.owner,
        members=sorted(members),
        quorum=session.quorum,
        deadline=session.deadline,
        opened_at=utc(session.opened_at),
        active_at=utc(session.active_at),
        request=json.loads(session.request),
        reply=json.loads(session.reply),
        round=None if round_ is None else round_state(rows, session, round_),
    )


def utc(seconds: float) -> datetime:
    """A time in seconds since 1970."""
    return datetime.fromtimestamp(seconds, timezone.utc)
