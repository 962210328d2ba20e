"""Finding a session's rows, and refusing whoever may not."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session as Rows

from ktl.cloud.service.models import CloudSession, Edge, Member
from ktl.cloud.service.refusals import Refused, busy


def find_session(rows: Rows, session_id: str, name: str | None, *, lock: bool = False) -> CloudSession:
    """One session. Raises Refused (not-found) when there is none, or none that the token name may see."""
    session = rows.get(CloudSession, session_id, with_for_update=lock or None)
    if session is None or (name is not None and not may_see(rows, session, name)):
        raise Refused("not-found", f"there is no session {session_id}; open one with POST /v1/sessions")
    return session


def may_see(rows: Rows, session: CloudSession, name: str) -> bool:
    """Whether a token name opened a session or is a member of it."""
    return session.owner == name or rows.get(Member, (session.id, name)) is not None


def claim_edge(rows: Rows, session_id: str, edge: str, name: str) -> None:
    """An edge's name belongs to the token name that used it first. Raises Refused (forbidden) for another."""
    claimed = rows.get(Edge, (session_id, edge))
    if claimed is None:
        rows.add(Edge(session_id=session_id, edge=edge, name=name))
    elif claimed.name != name:
        raise Refused("forbidden", f"the edge name {edge!r} belongs to another token of this session; choose another")


def stored_bytes(rows: Rows) -> int:
    """Payload bytes of all sessions."""
    return int(rows.scalar(select(func.coalesce(func.sum(CloudSession.size), 0))) or 0)


def refuse_if_full(rows: Rows, max_bytes: int) -> None:
    """Raises Refused (busy) when the sessions hold `max_bytes` or more."""
    if stored_bytes(rows) >= max_bytes:
        raise busy(f"the store holds its {max_bytes:,} bytes; delete sessions or raise --most-stored", 60)
