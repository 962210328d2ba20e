"""What sessions hold and are promised, as counters; sessions that are being deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds the counters, and counts what is there."""
    for name, kind in (("round_pairs", sa.Integer), ("round_bytes", sa.BigInteger), ("pairs", sa.BigInteger)):
        op.add_column("sessions", sa.Column(name, kind, nullable=False, server_default="0"))
    op.add_column("sessions", sa.Column("deleted_at", sa.Double))
    op.add_column("rounds", sa.Column("promised", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "usage",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("sessions", sa.Integer, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("pairs", sa.BigInteger, nullable=False),
    )
    counted = "count(*), coalesce(sum(size), 0), 0, 0 FROM sessions"
    op.execute(f"INSERT INTO usage (name, sessions, bytes, day, pairs) SELECT owner, {counted} GROUP BY owner")
    op.execute(f"INSERT INTO usage (name, sessions, bytes, day, pairs) SELECT '', {counted}")
