"""Sessions that are created for several edges: a name, how many rounds, and a digest of the classes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Sessions of before have none of them."""
    op.add_column("sessions", sa.Column("name", sa.String))
    op.add_column("sessions", sa.Column("rounds", sa.Integer))
    op.add_column("sessions", sa.Column("classes", sa.String))
