"""Tokens that end and tell when they were last used, and what admins did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Tokens of before never end."""
    op.add_column("tokens", sa.Column("expires_at", sa.Double))
    op.add_column("tokens", sa.Column("used_at", sa.Double))
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
    )
