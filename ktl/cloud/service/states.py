"""What the rows of sessions and rounds say, as the messages that callers get."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone

from sqlalchemy import select
from sqlalchemy.orm import Session as Rows

from ktl.cloud.service.answers import PoolingState, RoundState, Seconds, SessionState
from ktl.cloud.service.models import COLLECTING, DONE, CloudSession, Member, Round, Statistics, Upload


def _edges(rows: Rows, kind: type[Upload] | type[Statistics], session_id: str, number: int) -> set[str]:
    return set(rows.scalars(select(kind.edge).where(kind.session_id == session_id, kind.round == number)))


def _members(rows: Rows, session: CloudSession) -> list[str]:
    return sorted(rows.scalars(select(Member.name).where(Member.session_id == session.id)))


def round_state(rows: Rows, session: CloudSession, round_: Round) -> RoundState:
    """Where a round of a session is, who is in, and who is late."""
    edges_in = _edges(rows, Upload, session.id, round_.number)
    closed = round_.state != COLLECTING
    expected: set[str] = set()
    if closed:
        expected = {*_members(rows, session), *_edges(rows, Upload, session.id, round_.number - 1)}
    pooling = pooling_state(rows, round_) if round_.state == DONE else None
    if pooling is not None and not pooling.edges_in:
        pooling = None
    seconds = None
    if round_.alignment_seconds is not None and round_.generation_seconds is not None:
        seconds = Seconds(alignment=round_.alignment_seconds, generation=round_.generation_seconds)
    return RoundState(
        round=round_.number,
        state=round_.state,  # type: ignore[arg-type]
        edges_in=sorted(edges_in),
        edges_missing=0 if closed else max(session.quorum - len(edges_in), 0),
        edges_late=sorted(expected - edges_in),
        quorum=session.quorum,
        closes_at=None if round_.closes_at is None else utc(round_.closes_at),
        pairs=round_.pairs,
        bytes=round_.size,
        error=round_.error,
        seconds=seconds,
        pooling=pooling,
    )


def pooling_state(rows: Rows, round_: Round) -> PoolingState:
    """Whose class statistics of a round are in, and who is late. One that was late for its pairs may send them too."""
    edges_in = _edges(rows, Statistics, round_.session_id, round_.number)
    awaited = _edges(rows, Upload, round_.session_id, round_.number) - edges_in
    closed = pooling_is_due(round_)
    return PoolingState(
        round=round_.number,
        edges_in=sorted(edges_in),
        edges_missing=0 if closed else len(awaited),
        edges_late=sorted(awaited) if closed else [],
        closes_at=None if round_.pooling_closes_at is None else utc(round_.pooling_closes_at),
    )


def pooling_is_due(round_: Round) -> bool:
    """Whether the deadline for a round's class statistics has passed."""
    return round_.pooling_closes_at is not None and round_.pooling_closes_at <= time.time()


def is_pooled(rows: Rows, round_: Round) -> bool:
    """Whether a round takes no more class statistics."""
    return pooling_is_due(round_) or (round_.state == DONE and pooling_state(rows, round_).edges_missing == 0)


def session_state(rows: Rows, session: CloudSession) -> SessionState:
    """A session and its latest round."""
    latest = select(Round).where(Round.session_id == session.id).order_by(Round.number.desc()).limit(1)
    round_ = rows.scalar(latest)
    return SessionState(
        id=session.id,
        owner=session.owner,
        name=session.name,
        rounds=session.rounds,
        classes=session.classes,
        members=_members(rows, session),
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
