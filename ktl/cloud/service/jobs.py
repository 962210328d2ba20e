"""The queue of rounds to be drawn, in the same tables as the sessions: a server that is killed forgets nothing."""

from __future__ import annotations

import hashlib
import time

from sqlalchemy import func, select, update

from ktl.cloud.service.accounts import Quotas, promise_pairs, settle
from ktl.cloud.service.answers import Seconds
from ktl.cloud.service.database import Database
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
    Upload,
)
from ktl.cloud.service.refusals import Refused


class Jobs:
    """What the worker does with rounds: a round is queued, being drawn, and then done, failed or queued again."""

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self.database = database
        self.quotas = quotas

    def claim(self) -> tuple[str, int] | None:
        """The round that has waited longest, now being drawn."""
        with self.database.read() as rows:  # most calls find none: they need no writer
            if rows.scalar(select(func.count()).where(Round.state == QUEUED)) == 0:
                return None
        with self.database.write() as rows:
            round_ = rows.scalar(select(Round).where(Round.state == QUEUED).order_by(Round.queued_at).limit(1))
            if round_ is None:
                return None
            round_.state = DRAWING
            round_.attempts += 1
            return round_.session_id, round_.number

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
        """How many times a round was begun to be drawn."""
        with self.database.read() as rows:
            round_ = rows.get(Round, (session_id, number))
            return round_.attempts if round_ else 0

    def finish(self, session_id: str, number: int, payload: bytes, pairs: int, seconds: Seconds) -> bool:
        """Keeps a round's pairs. False, and nothing is kept, if the session is gone or the round was drawn already."""
        with self.database.write() as rows:
            session = rows.get(CloudSession, session_id, with_for_update=True)
            round_ = rows.get(Round, (session_id, number))
            if session is None or round_ is None or round_.state != DRAWING:
                return False
            for index in range(0, len(payload), PIECE_BYTES):
                part = payload[index : index + PIECE_BYTES]
                rows.add(Piece(session_id=session_id, round=number, number=index // PIECE_BYTES, data=part))
                rows.flush()
            round_.state, round_.finished_at, round_.error = DONE, time.time(), None
            round_.pairs, round_.size, round_.digest = pairs, len(payload), hashlib.sha256(payload).digest()
            round_.alignment_seconds, round_.generation_seconds = seconds.alignment, seconds.generation
            session.active_at = time.time()
            settle(rows, session, round_, len(payload), pairs)
        return True

    def fail(self, session_id: str, number: int, error: str) -> None:
        """Ends a round that cannot be drawn."""
        with self.database.write() as rows:
            session = rows.get(CloudSession, session_id, with_for_update=True)
            round_ = rows.get(Round, (session_id, number))
            if session is not None and round_ is not None and round_.state == DRAWING:
                round_.state, round_.finished_at, round_.error = FAILED, time.time(), error
                settle(rows, session, round_, 0, 0)

    def requeue(self, session_id: str, number: int) -> None:
        """Puts a round that was not finished back, to be drawn again."""
        self._leave_drawing(session_id, number, state=QUEUED)

    def requeue_all(self) -> int:
        """Puts back what a server that is gone was drawing; returns how many rounds."""
        with self.database.write() as rows:
            result = rows.execute(update(Round).where(Round.state == DRAWING).values(state=QUEUED))
            return int(getattr(result, "rowcount", 0))

    def close_due(self) -> list[tuple[str, int]]:
        """Queues the rounds whose deadline has passed, with the edges that are in, as far as there is room for them."""
        with self.database.read() as rows:
            due = select(Round).where(Round.state == COLLECTING, Round.closes_at <= time.time())
            rounds = [(round_.session_id, round_.number) for round_ in rows.scalars(due)]
        return [each for each in rounds if self._queued(*each)]

    def _queued(self, session_id: str, number: int) -> bool:
        with self.database.write() as rows:
            session = rows.get(CloudSession, session_id, with_for_update=True)
            round_ = rows.get(Round, (session_id, number))
            if session is None or round_ is None or round_.state != COLLECTING:
                return False
            try:
                promise_pairs(rows, session, self.quotas)
            except Refused:
                return False  # it stays as it is, and is looked at again
            round_.state, round_.queued_at = QUEUED, time.time()
        return True

    def _leave_drawing(self, session_id: str, number: int, **values: object) -> None:
        with self.database.write() as rows:
            this = (Round.session_id == session_id, Round.number == number, Round.state == DRAWING)
            rows.execute(update(Round).where(*this).values(**values))
