"""Changing a session that is open: who takes part, how many edges a round waits for, and giving a round up.

Whoever opened the session may, and an admin, of whom it is written down.
"""

from __future__ import annotations

import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session as Rows

from ktl.cloud.service.accounts import ROW_BYTES, add_bytes, promise_pairs, settle
from ktl.cloud.service.answers import RoundState, SessionState
from ktl.cloud.service.audit import record
from ktl.cloud.service.lookup import find_session, refuse_strangers
from ktl.cloud.service.models import COLLECTING, DRAWING, FAILED, QUEUED, CloudSession, Member, Round, Upload
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.states import round_state, session_state
from ktl.cloud.service.store import Store
from ktl.cloud.service.tokens import Caller


class Steering:
    """Each method raises Refused (not-found; forbidden for one who is only a member)."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.database = store.database

    def add_member(self, session_id: str, name: str, who: Caller) -> None:
        """Lets a token name take part. Raises Refused (invalid) if no token has it, (quota, busy) without room."""
        with self.database.write() as rows:
            session = _own_session(rows, session_id, who, f"member {name} added")
            if rows.get(Member, (session_id, name)) is None:
                refuse_strangers(rows, [name])
                add_bytes(rows, session, ROW_BYTES, self.store.quotas)
                rows.add(Member(session_id=session_id, name=name))

    def remove_member(self, session_id: str, name: str, who: Caller) -> None:
        """Takes a token name out; what it has uploaded stays. Of one that is no member nothing changes."""
        with self.database.write() as rows:
            session = _own_session(rows, session_id, who, f"member {name} removed")
            member = rows.get(Member, (session_id, name))
            if member is not None:
                rows.delete(member)
                add_bytes(rows, session, -ROW_BYTES)

    def set_quorum(self, session_id: str, quorum: int, who: Caller) -> SessionState:
        """How many edges this round and the next wait for; a round with as many in is queued.

        Raises Refused (quota, rate-limited, busy) if there is no room for that round.
        """
        with self.database.write() as rows:
            session = _own_session(rows, session_id, who, f"quorum set to {quorum}")
            session.quorum = quorum
            collecting = select(Round).where(Round.session_id == session_id, Round.state == COLLECTING)
            for round_ in rows.scalars(collecting):
                uploads = select(func.count()).where(Upload.session_id == session_id, Upload.round == round_.number)
                if (rows.scalar(uploads) or 0) >= quorum:
                    promise_pairs(rows, session, self.store.quotas)
                    round_.state, round_.queued_at = QUEUED, time.time()
            rows.flush()
            return session_state(rows, session)

    def cancel(self, session_id: str, number: int, who: Caller) -> RoundState:
        """Gives up a round that is not done: it has failed, and the session ends with it. Raises Refused (conflict)."""
        with self.database.write() as rows:
            session = _own_session(rows, session_id, who, f"round {number} cancelled")
            round_ = rows.get(Round, (session_id, number))
            if round_ is None:
                raise Refused("not-found", f"round {number} has not begun")
            if round_.state not in (COLLECTING, QUEUED, DRAWING):
                raise Refused("conflict", f"round {number} is {round_.state}: there is nothing left to cancel")
            settle(rows, session, round_, 0, None if round_.state == COLLECTING else 0)
            round_.state, round_.finished_at, round_.error = FAILED, time.time(), f"cancelled by {who.name}"
            round_.holder = round_.leased_until = None
            rows.flush()
            return round_state(rows, session, round_)


def _own_session(rows: Rows, session_id: str, who: Caller, action: str) -> CloudSession:
    session = find_session(rows, session_id, who.sees, lock=True)
    if who.scope == "admin":
        record(rows, who.name, action, f"session {session_id}")
    elif session.owner != who.name:
        raise Refused("forbidden", "only the token that opened a session, or an admin, may change it")
    return session
