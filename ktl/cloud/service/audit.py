"""What admins did: kept in the database with the act itself, in one transaction, and logged."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from sqlalchemy import select
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


@dataclass(frozen=True)
class Entry:
    """One act; `at` is in seconds since 1970."""

    id: int
    at: float
    actor: str
    action: str
    target: str


def entries(database: Database, limit: int, before: int | None) -> list[Entry]:
    """At most `limit` acts, the newest first, of those with ids below `before`."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    with database.read() as rows:
        return [Entry(each.id, each.at, each.actor, each.action, each.target) for each in rows.scalars(query)]
