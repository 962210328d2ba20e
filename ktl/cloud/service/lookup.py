"""Finding a session's rows, and refusing whoever may not."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session as Rows

from ktl.cloud.service.models import FAILED, CloudSession, Edge, Member, Round, Token
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


def visible_to(name: str) -> ColumnElement[bool]:
    """Of sessions: whether `may_see`."""
    taking_part = select(Member.session_id).where(Member.name == name)
    return or_(CloudSession.owner == name, CloudSession.id.in_(taking_part))


def refuse_taken(rows: Rows, owner: str, name: str | None) -> None:
    """Raises Refused (conflict) if the owner has a session of this name, unless that is None."""
    own = CloudSession.owner == owner, CloudSession.name == name, CloudSession.deleted_at.is_(None)
    if name is not None and rows.scalar(select(CloudSession.id).where(*own).limit(1)) is not None:
        raise Refused("conflict", f"{owner!r} has a session called {name!r}: delete it, or choose another name")


def claim_edge(rows: Rows, session: CloudSession, edge: str, name: str) -> None:
    """An edge's name in a session belongs to the token name that used it first.

    Raises Refused (forbidden) for another's name: a member has one edge, called as its token is; whoever opened the
    session may have several, none of them called as somebody else's token.
    """
    claimed = rows.get(Edge, (session.id, edge))
    if claimed is not None:
        if claimed.name != name:
            raise Refused("forbidden", f"the edge name {edge!r} belongs to another token of this session")
        return
    if edge != name and name != session.owner:
        raise Refused("forbidden", f"a member's edge is called as its token: send it as {name!r}, not as {edge!r}")
    if edge != name and names_of_tokens(rows, [edge]):
        raise Refused("forbidden", f"{edge!r} is the name of another token: choose another name for this edge")
    rows.add(Edge(session_id=session.id, edge=edge, name=name))


def names_of_tokens(rows: Rows, names: Collection[str]) -> set[str]:
    """Those of the names that a token has which is not revoked."""
    return set(rows.scalars(select(Token.name).where(Token.name.in_(names), Token.revoked_at.is_(None))))


def refuse_strangers(rows: Rows, names: Collection[str]) -> None:
    """Raises Refused (invalid) if a name that is to take part is no token's."""
    if unknown := sorted(set(names) - names_of_tokens(rows, names)):
        raise Refused("invalid", f"member {unknown[0]!r}: there is no token of this name; let an admin create it first")


def refuse_after_failure(rows: Rows, session_id: str, number: int) -> None:
    """Raises Refused (round-failed) if the round or one before it failed: a session ends with its failed round."""
    ended = (Round.session_id == session_id, Round.state == FAILED, Round.number <= number)
    failed = rows.scalar(select(Round).where(*ended).limit(1))
    if failed is not None:
        raise Refused("round-failed", f"round {failed.number} failed ({failed.error}); open a new session")
