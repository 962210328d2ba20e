"""The queue of rounds to be drawn, in the same tables as the sessions: a server that is killed forgets nothing.

Several servers may take from it. Who takes a round has it on a lease that is renewed while it is drawn; one whose lease
is up is anybody's again, so nothing waits for a server that is gone, hangs, or could not say that it gave up.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session as Rows

from ktl.cloud.service.accounts import Quotas, promise_pairs, settle
from ktl.cloud.service.answers import Seconds
from ktl.cloud.service.database import Database
from ktl.cloud.service.events import Event
from ktl.cloud.service.models import (
    COLLECTING,
    DONE,
    DRAWING,
    FAILED,
    PIECE_BYTES,
    QUEUED,
    CloudSession,
    Piece,
    Round,
    Turn,
    Upload,
)
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.relay import notify

LEASE_SECONDS = 20.0
NOBODY = {"holder": None, "leased_until": None}


@dataclass(frozen=True)
class Claim:
    """A round in the hands of whoever is to draw it. `holder` is of this claim alone: after a takeover it is void."""

    session: str
    round: int
    owner: str  # token name that opened the session
    holder: str

    @property
    def server(self) -> str:
        """Who holds it."""
        return self.holder.partition(".")[0]


class Jobs:
    """What workers do with rounds: a round is queued, being drawn, and then done, failed or queued again."""

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self.database = database
        self.quotas = quotas

    def claim(self, server: str, besides: Collection[str] = ()) -> Claim | None:
        """A round that is now being drawn by `server`; None if there is none.

        Owners take turns: of those that have rounds waiting, `besides` left out, the one whose turn was longest ago.
        """
        waiting = and_(self._claimable(), CloudSession.owner.not_in(besides))
        with self.database.read() as rows:  # most calls find none: they need no writer
            if rows.scalar(select(Round.number).join(CloudSession).where(waiting).limit(1)) is None:
                return None
        with self.database.write() as rows:
            query = select(Round, CloudSession.owner).join(CloudSession)
            query = query.outerjoin(Turn, Turn.owner == CloudSession.owner).where(waiting)
            query = query.order_by(func.coalesce(Turn.begun_at, 0.0), Round.queued_at)
            found = rows.execute(query.limit(1).with_for_update(of=Round, skip_locked=True)).first()
            if found is None:
                return None
            round_, owner = found
            round_.state, round_.holder = DRAWING, f"{server}.{secrets.token_hex(4)}"
            round_.leased_until = self.database.now() + LEASE_SECONDS
            round_.attempts += 1
            self.database.put(rows, Turn, owner=owner, begun_at=self.database.now())
            return Claim(round_.session_id, round_.number, owner, round_.holder)

    def renew(self, drawn: Mapping[str, int]) -> set[str]:
        """Prolongs the leases of these holders, and keeps how many pairs each has drawn. Those that still hold."""
        with self.database.read() as rows:
            mine = select(Round.holder).where(Round.state == DRAWING, Round.holder.in_(drawn))
            held = {holder for holder in rows.scalars(mine) if holder is not None}
        with self.database.write() as rows:
            # a row that is locked is being finished
            for round_ in rows.scalars(
                select(Round).where(Round.state == DRAWING, Round.holder.in_(held)).with_for_update(skip_locked=True)
            ):
                round_.leased_until = self.database.now() + LEASE_SECONDS
                round_.pairs = drawn[str(round_.holder)]
        return held

    def uploads(self, session_id: str, first: int, last: int) -> list[list[bytes]]:
        """The prototypes of rounds first..last, each round's in the order of the edges' names."""
        with self.database.read() as rows:
            query = (
                select(Upload)
                .where(Upload.session_id == session_id, Upload.round.between(first, last))
                .order_by(Upload.round, Upload.edge)
            )
            by_round: dict[int, list[tuple[str, bytes]]] = {}
            for upload in rows.scalars(query):
                by_round.setdefault(upload.round, []).append((upload.edge, upload.payload))
        # a database's collation may order names in its own way
        return [[payload for _, payload in sorted(by_round.get(r, []))] for r in range(first, last + 1)]

    def attempts(self, session_id: str, number: int) -> int:
        """How many times a round was begun to be drawn, those left out after which it was put back."""
        with self.database.read() as rows:
            round_ = rows.get(Round, (session_id, number))
            return round_.attempts if round_ else 0

    def finish(self, claim: Claim, payload: bytes, pairs: int, seconds: Seconds) -> bool:
        """Keeps a round's pairs. False, and nothing is kept, if the session is gone or the claim is void."""
        with self.database.write() as rows:
            session = rows.get(CloudSession, claim.session, with_for_update=True)
            round_ = _held(rows, claim)
            if session is None or round_ is None:
                return False
            for index in range(0, len(payload), PIECE_BYTES):
                part = payload[index : index + PIECE_BYTES]
                rows.add(Piece(session_id=claim.session, round=claim.round, number=index // PIECE_BYTES, data=part))
                rows.flush()
            round_.state, round_.finished_at, round_.error = DONE, time.time(), None
            round_.holder = round_.leased_until = None
            round_.pairs, round_.size, round_.digest = pairs, len(payload), hashlib.sha256(payload).digest()
            round_.alignment_seconds, round_.generation_seconds = seconds.alignment, seconds.generation
            session.active_at = time.time()
            settle(rows, session, round_, len(payload), pairs)
            notify(rows, claim.server, Event("ended", claim.session, claim.round))
        return True

    def fail(self, claim: Claim, error: str) -> None:
        """Ends a round that cannot be drawn, unless the claim is void."""
        with self.database.write() as rows:
            session = rows.get(CloudSession, claim.session, with_for_update=True)
            round_ = _held(rows, claim)
            if session is not None and round_ is not None:
                round_.state, round_.finished_at, round_.error = FAILED, time.time(), error
                round_.holder = round_.leased_until = None
                settle(rows, session, round_, 0, 0)
                notify(rows, claim.server, Event("ended", claim.session, claim.round))

    def put_back(self, claim: Claim, *, counts: bool = False) -> None:
        """Queues a round that was not finished, to be drawn again; as an attempt only if it `counts`."""
        with self.database.write() as rows:
            round_ = _held(rows, claim)
            if round_ is not None:
                round_.state, round_.pairs = QUEUED, 0
                round_.holder = round_.leased_until = None
                round_.attempts -= not counts

    def put_back_all(self) -> int:
        """Queues what any server was drawing, for when none is alive but this one; returns how many rounds."""
        with self.database.write() as rows:
            drawing = update(Round).where(Round.state == DRAWING)
            return int(getattr(rows.execute(drawing.values(state=QUEUED, **NOBODY)), "rowcount", 0))

    def close_due(self) -> list[tuple[str, int]]:
        """Queues the rounds whose deadline has passed, with the edges that are in, as far as there is room for them."""
        due = select(Round.session_id, Round.number).where(Round.state == COLLECTING, Round.closes_at <= time.time())
        with self.database.read() as rows:
            found = [(session_id, number) for session_id, number in rows.execute(due)]
        return [job for job in found if self._close(*job)]

    def _close(self, session_id: str, number: int) -> bool:
        """Whether this server did so. Uploads lock the session, too: none comes in once the round is closed."""
        with self.database.write() as rows:
            session = rows.get(CloudSession, session_id, with_for_update=True)
            round_ = rows.get(Round, (session_id, number)) if session else None
            if session is None or round_ is None or round_.state != COLLECTING:
                return False
            try:
                promise_pairs(rows, session, self.quotas)
            except Refused:
                return False  # it stays as it is, and is looked at again
            round_.state, round_.queued_at = QUEUED, time.time()
            return True

    def _claimable(self) -> ColumnElement[bool]:
        lapsed = func.coalesce(Round.leased_until, 0.0) < self.database.now()
        return or_(Round.state == QUEUED, and_(Round.state == DRAWING, lapsed))


def _held(rows: Rows, claim: Claim) -> Round | None:
    """The claimed round, locked; None if the claim is void."""
    round_ = rows.get(Round, (claim.session, claim.round), with_for_update=True)
    return round_ if round_ is not None and round_.state == DRAWING and round_.holder == claim.holder else None
