"""The tables of class statistics."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """What edges send after they trained, and what all of it adds up to."""
    op.add_column("rounds", sa.Column("pooling_closes_at", sa.Double))
    _create_table_of_a_round(
        "statistics",
        sa.Column("edge", sa.String, primary_key=True),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("received_at", sa.Double, nullable=False),
    )
    _create_table_of_a_round(
        "pooled",
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
    )


def _create_table_of_a_round(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        name,
        sa.Column("session_id", sa.String, primary_key=True),
        sa.Column("round", sa.Integer, primary_key=True),
        *columns,
        sa.ForeignKeyConstraint(["session_id", "round"], ["rounds.session_id", "rounds.number"], ondelete="CASCADE"),
    )
