"""The tables. Times are seconds since 1970, UTC; a session's rows go with it."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import BigInteger, Double, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

PIECE_BYTES = 2**18
Scope = Literal["edge", "admin", "metrics"]  # of a token
COLLECTING, QUEUED, DRAWING, DONE, FAILED = STATES = ("collecting", "queued", "drawing", "done", "failed")


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {float: Double, bytes: LargeBinary}  # noqa: RUF012 - SQLAlchemy reads it


class Token(Base):
    """A bearer token. `name` owns sessions, so a new token of the same name takes over when one is exchanged."""

    __tablename__ = "tokens"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    scope: Mapped[str]
    salt: Mapped[bytes]
    hash: Mapped[bytes]
    created_at: Mapped[float]
    revoked_at: Mapped[float | None]
    expires_at: Mapped[float | None]
    used_at: Mapped[float | None]  # to the minute


class AuditEntry(Base):
    """Something that an admin did: `actor` is the token's name, `target` a token, or a session and what of it."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    actor: Mapped[str]
    action: Mapped[str]
    target: Mapped[str]


class CloudSession(Base):
    """What a client opened. `demand` is what must be equal when its idempotency key comes again."""

    __tablename__ = "sessions"
    __table_args__ = (UniqueConstraint("owner", "idempotency_key"), Index("sessions_newest", "opened_at", "id"))
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    idempotency_key: Mapped[str]
    demand: Mapped[str]
    request: Mapped[bytes]
    reply: Mapped[bytes]
    quorum: Mapped[int]
    deadline: Mapped[float | None]
    name: Mapped[str | None]  # by which its edges find it; its owner has no other of this name
    rounds: Mapped[int | None]  # how many it has; without end if none
    classes: Mapped[str | None]  # salted digest of the classes' names (`ktl.class_agreement`)
    opened_at: Mapped[float]
    active_at: Mapped[float] = mapped_column(index=True)
    size: Mapped[int] = mapped_column(BigInteger, default=0)  # bytes, what is promised to its rounds included
    pairs: Mapped[int] = mapped_column(BigInteger, default=0)  # likewise
    round_pairs: Mapped[int] = mapped_column(default=0)  # the most that a round of it may take: pairs,
    round_bytes: Mapped[int] = mapped_column(BigInteger, default=0)  # and bytes of payload
    deleted_at: Mapped[float | None]  # then nobody finds it, and its rows go bit by bit


class Usage(Base):
    """What the sessions of a token's name hold and are promised; the empty name's are everyone's."""

    __tablename__ = "usage"
    name: Mapped[str] = mapped_column(primary_key=True)
    sessions: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    day: Mapped[int]  # since 1970, UTC, that `pairs` are of
    pairs: Mapped[int] = mapped_column(BigInteger)


class Member(Base):
    """A token name that may take part in a session."""

    __tablename__ = "members"
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True, index=True)


class Edge(Base):
    """An edge's name in a session belongs to the token name that used it first."""

    __tablename__ = "edges"
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    edge: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]


class Round(Base):
    """A round of a session; while queued or drawing it is a job. While it is drawn it is leased to its `holder`."""

    __tablename__ = "rounds"
    __table_args__ = (Index("rounds_jobs", "state", "queued_at"),)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str]
    closes_at: Mapped[float | None]
    queued_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    attempts: Mapped[int] = mapped_column(default=0)
    pairs: Mapped[int] = mapped_column(default=0)
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    promised: Mapped[int] = mapped_column(BigInteger, default=0)  # bytes that are counted before they are there
    digest: Mapped[bytes | None]
    pooling_closes_at: Mapped[float | None]
    holder: Mapped[str | None]
    leased_until: Mapped[float | None]
    alignment_seconds: Mapped[float | None]
    generation_seconds: Mapped[float | None]
    error: Mapped[str | None]


class Turn(Base):
    """When a round of an owner of sessions was last begun: of owners with queued rounds, the longest ago is next."""

    __tablename__ = "turns"
    owner: Mapped[str] = mapped_column(primary_key=True)
    begun_at: Mapped[float]


class Probe(Base):
    """Written and deleted again to see whether the database can still be written to."""

    __tablename__ = "probes"
    id: Mapped[str] = mapped_column(primary_key=True)
    data: Mapped[bytes]


class OfRound:
    """What the tables have in common whose rows belong to a round. Its columns come first, in their keys too."""

    session_id: Mapped[str] = mapped_column(primary_key=True, sort_order=-1)
    round: Mapped[int] = mapped_column(primary_key=True, sort_order=-1)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[ForeignKeyConstraint]:
        return (
            ForeignKeyConstraint(["session_id", "round"], ["rounds.session_id", "rounds.number"], ondelete="CASCADE"),
        )


class FromEdge(OfRound):
    """What an edge sent for a round, as it came."""

    edge: Mapped[str] = mapped_column(primary_key=True)
    payload: Mapped[bytes]
    received_at: Mapped[float]


class Upload(FromEdge, Base):
    """Prototypes."""

    __tablename__ = "uploads"


class Piece(OfRound, Base):
    """A part of a round's pairs: PIECE_BYTES each but for the last, so that a range is read without the rest."""

    __tablename__ = "pieces"
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]


class Statistics(FromEdge, Base):
    """Class statistics, after the edge has trained."""

    __tablename__ = "statistics"


class Pooled(OfRound, Base):
    """The class statistics of all edges after a round."""

    __tablename__ = "pooled"
    payload: Mapped[bytes]
    digest: Mapped[bytes]
