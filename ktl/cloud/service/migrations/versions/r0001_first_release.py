"""The tables of the first release."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes every table, those that others refer to first."""
    for create in (_tokens, _sessions, _members, _edges, _rounds, _uploads, _pieces):
        create()


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False, index=True),
        sa.Column("scope", sa.String, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("revoked_at", sa.Double),
    )


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("idempotency_key", sa.String, nullable=False),
        sa.Column("demand", sa.String, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("reply", sa.LargeBinary, nullable=False),
        sa.Column("quorum", sa.Integer, nullable=False),
        sa.Column("deadline", sa.Double),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("active_at", sa.Double, nullable=False, index=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("owner", "idempotency_key"),
    )
    op.create_index("sessions_newest", "sessions", ["opened_at", "id"])


def _members() -> None:
    op.create_table("members", _session_id(), sa.Column("name", sa.String, primary_key=True, index=True))


def _edges() -> None:
    op.create_table(
        "edges",
        _session_id(),
        sa.Column("edge", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
    )


def _rounds() -> None:
    op.create_table(
        "rounds",
        _session_id(),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("closes_at", sa.Double),
        sa.Column("queued_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("pairs", sa.Integer, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("alignment_seconds", sa.Double),
        sa.Column("generation_seconds", sa.Double),
        sa.Column("error", sa.String),
    )
    op.create_index("rounds_jobs", "rounds", ["state", "queued_at"])


def _uploads() -> None:
    _create_table_of_a_round(
        "uploads",
        sa.Column("edge", sa.String, primary_key=True),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("received_at", sa.Double, nullable=False),
    )


def _pieces() -> None:
    _create_table_of_a_round(
        "pieces",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )


def _create_table_of_a_round(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        name,
        sa.Column("session_id", sa.String, primary_key=True),
        sa.Column("round", sa.Integer, primary_key=True),
        *columns,
        sa.ForeignKeyConstraint(["session_id", "round"], ["rounds.session_id", "rounds.number"], ondelete="CASCADE"),
    )


def _session_id() -> sa.Column[str]:
    return sa.Column("session_id", sa.String, sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
