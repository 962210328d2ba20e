"""Leases of the rounds that are being drawn, turns of the owners of sessions, and a table to try writing to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """What was being drawn without a lease is anybody's."""
    op.add_column("rounds", sa.Column("holder", sa.String))
    op.add_column("rounds", sa.Column("leased_until", sa.Double))
    op.create_table(
        "turns",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("begun_at", sa.Double, nullable=False),
    )
    op.create_table(
        "probes",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
