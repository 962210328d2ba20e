"""Finding a session's rows, and refusing whoever may not."""

from __future__ import annotations

from sqlalchemy.orm import Session as Rows

from ktl.cloud.service.models import CloudSession, Edge, Member
from ktl.cloud.service.refusals import Refused


def find_session(rows: Rows, session_id: str, name: str | None, *, lock: bool = False) -> CloudSession:
    """One session. Raises Refused (not-found) when there is none, or none that the token name may see."""
    session = rows.get(CloudSession, session_id, with_for_update=lock or None)
    if session is None or session.deleted_at is not None or (name is not None and not may_see(rows, session, name)):
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
