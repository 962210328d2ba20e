"""Run by Alembic: within the caller's transaction when the service starts, or by a developer's `alembic` command."""

from __future__ import annotations

from alembic import context

from ktl.cloud.service.models import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
