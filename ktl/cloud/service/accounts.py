"""What sessions hold and were promised, counted as it changes: nobody adds up all sessions while others wait.

Bytes are counted when they are admitted: a round's pairs by the most that they may take, until they are drawn.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session as Rows

from ktl.cloud.service.models import DRAWING, QUEUED, CloudSession, Round, Usage
from ktl.cloud.service.refusals import Refused, busy

ROW_BYTES = 512  # that a row takes beside its payload, with its entries in indexes
EVERYONE = ""  # in place of a token's name, which is never empty
DAY = 86_400  # seconds


@dataclass(frozen=True)
class Quotas:
    """The most that everyone's sessions may take together, and those of one name."""

    stored: int = 10 * 10**9  # bytes
    queued: int = 256  # rounds that wait or are drawn
    session_pairs: int = 2_000_000  # of all rounds of a session
    each_sessions: int = 1000
    each_stored: int = 2 * 10**9  # bytes
    each_rounds: int = 32  # that wait or are drawn
    each_pairs: int = 1_000_000  # a day, UTC


def usage(rows: Rows, name: str) -> Usage:
    """A name's counters; nobody else changes them before the transaction ends. Take EVERYONE's last."""
    known = rows.get(Usage, name, with_for_update=True)
    if known is None:
        made = text(
            "INSERT INTO usage (name, sessions, bytes, day, pairs) VALUES (:name, 0, 0, 0, 0) ON CONFLICT DO NOTHING"
        )
        rows.execute(made, {"name": name})
        known = rows.get_one(Usage, name, with_for_update=True)
    return known


def add_session(rows: Rows, session: CloudSession, size: int, quotas: Quotas) -> None:
    """Counts a new session with its rows. Raises Refused (quota, busy) if there is no room for it."""
    own = usage(rows, session.owner)
    if own.sessions >= quotas.each_sessions:
        raise Refused("quota", f"{session.owner!r} has {own.sessions:,} sessions, the most for one name; delete some")
    own.sessions += 1
    add_bytes(rows, session, size + ROW_BYTES, quotas)


def add_bytes(rows: Rows, session: CloudSession, size: int, quotas: Quotas | None = None) -> None:
    """Counts bytes to a session, or fewer of them. Raises Refused (quota, busy) where `quotas` leave no room."""
    own, everyone = usage(rows, session.owner), usage(rows, EVERYONE)
    if quotas is not None and own.bytes + size > quotas.each_stored:
        reason = (
            f"the sessions of {session.owner!r} hold {own.bytes:,} of the {quotas.each_stored:,} bytes for one name"
        )
        raise Refused("quota", f"{reason}, what their rounds may still take included; delete some")
    if quotas is not None and everyone.bytes + size > quotas.stored:
        raise busy(f"the store has promised its {quotas.stored:,} bytes; delete sessions or raise --most-stored", 60)
    session.size += size
    own.bytes += size
    everyone.bytes += size


def promise_bytes(rows: Rows, session: CloudSession, round_: Round, size: int, quotas: Quotas) -> None:
    """Counts what will come of a round, before it is there. Raises Refused (quota, busy)."""
    add_bytes(rows, session, size, quotas)
    round_.promised = size


def promise_pairs(rows: Rows, session: CloudSession, quotas: Quotas) -> None:
    """Counts the pairs of a round that is about to be queued. Raises Refused (quota, rate-limited, busy)."""
    if session.pairs + session.round_pairs > quotas.session_pairs:
        reason = f"this session has had {session.pairs:,} of the {quotas.session_pairs:,} pairs for one session"
        raise Refused("quota", f"{reason}; open another")
    busy_rounds = select(func.count()).where(Round.state.in_((QUEUED, DRAWING)))
    if (rows.scalar(busy_rounds) or 0) >= quotas.queued:
        raise busy(f"{quotas.queued} rounds are waiting to be drawn; try again", retry_after=2)
    of_owner = busy_rounds.where(CloudSession.id == Round.session_id, CloudSession.owner == session.owner)
    if (rows.scalar(of_owner) or 0) >= quotas.each_rounds:
        raise Refused("rate-limited", f"{quotas.each_rounds} rounds of {session.owner!r} wait already", _later(2))
    own, today = usage(rows, session.owner), int(time.time() // DAY)
    if own.day != today:
        own.day, own.pairs = today, 0
    if own.pairs + session.round_pairs > quotas.each_pairs:
        reason = f"{session.owner!r} has had {own.pairs:,} of the {quotas.each_pairs:,} pairs for one day"
        raise Refused("rate-limited", reason, _later(int(DAY - time.time() % DAY) + 1))
    _add_pairs(session, own, session.round_pairs)


def settle(rows: Rows, session: CloudSession, round_: Round, size: int, pairs: int | None = None) -> None:
    """What has come of a round takes the place of what was promised: bytes, and if it was queued, pairs."""
    add_bytes(rows, session, size - round_.promised)
    round_.promised = 0
    if pairs is not None:
        own = usage(rows, session.owner)
        same_day = round_.queued_at is not None and int(round_.queued_at // DAY) == own.day
        _add_pairs(session, own if same_day else None, pairs - session.round_pairs)


def remove_session(rows: Rows, session: CloudSession) -> None:
    """Counts it no longer."""
    own = usage(rows, session.owner)
    own.sessions -= 1
    add_bytes(rows, session, -session.size)


def _add_pairs(session: CloudSession, own: Usage | None, pairs: int) -> None:
    session.pairs += pairs
    if own is not None:
        own.pairs += pairs


def _later(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}
