"""What admins did: kept in the database with the act itself, in one transaction, and logged."""

from __future__ import annotations

import logging
import time

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session as Rows

from ktl.cloud.service.database import Database
from ktl.cloud.service.models import AuditEntry

COMMAND_LINE = "the command line"  # on the server's machine, which needs no token

log = logging.getLogger("ktl.cloud.audit")


def record(rows: Rows, actor: str | None, action: str, target: str) -> None:
    """Writes down what an admin does. `actor`: the name of the admin's token; None on the server's own machine."""
    actor = actor or COMMAND_LINE
    rows.add(AuditEntry(at=time.time(), actor=actor, action=action, target=target))
    log.info("audit", extra={"actor": actor, "action": action, "target": target})


def record_alone(database: Database, actor: str, action: str, target: str) -> None:
    """Writes down what is done already; where the database takes no rows, the log alone has it."""
    try:
        with database.write() as rows:
            record(rows, actor, action, target)
    except SQLAlchemyError:
        log.warning("the audit entry could not be kept")


def entries(database: Database, limit: int, before: int | None) -> list[AuditEntry]:
    """At most `limit` acts, the newest first, of those with ids below `before`."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    with database.read() as rows:
        return list(rows.scalars(query))
