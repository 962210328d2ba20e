"""Bearer tokens: 256 random bits, kept as hashes, revoked at once."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import select

from ktl.cloud.service.database import Database
from ktl.cloud.service.models import Token
from ktl.errors import UsageError
from ktl.protocol import NAME

Scope = Literal["edge", "admin"]
SCOPES = get_args(Scope)
FORM = re.compile(r"ktl_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Caller:
    """Who sent a request."""

    token: str  # the token's id, which is no secret
    name: str
    scope: Scope

    @property
    def sees(self) -> str | None:
        """The token name whose sessions this caller may see; None for an admin, who sees all."""
        return None if self.scope == "admin" else self.name


class Tokens:
    """Makes, lists, revokes and checks tokens."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, name: str, scope: str) -> str:
        """A new token, told this once. Raises UsageError for an impossible name or scope."""
        if scope not in SCOPES:
            raise UsageError(f"unknown scope {scope!r}: choose one of {', '.join(SCOPES)}")
        if not re.fullmatch(NAME, name):
            raise UsageError(f"the token name {name!r} must be 1 to 64 letters, digits, '.', '_' or '-'")
        token_id, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_bytes(16)
        row = Token(id=token_id, name=name, scope=scope, salt=salt, hash=_hash(secret, salt), created_at=time.time())
        with self.database.write() as rows:
            rows.add(row)
        return f"ktl_{token_id}_{secret}"

    def all(self) -> list[Token]:
        """Every token, oldest first; their secrets are not known."""
        with self.database.read() as rows:
            return list(rows.scalars(select(Token).order_by(Token.created_at)))

    def revoke(self, token_id: str) -> Token:
        """Ends a token. Raises UsageError if there is none of this id."""
        with self.database.write() as rows:
            row = rows.get(Token, token_id)
            if row is None:
                raise UsageError(f"there is no token {token_id!r}; `ktl cloud token list` shows them")
            row.revoked_at = row.revoked_at or time.time()
            return row

    def caller(self, token: str) -> Caller | None:
        """Whose token this is; None if it is nobody's or revoked. The database is asked every time."""
        form = FORM.fullmatch(token)
        if form is None:
            return None
        with self.database.read() as rows:
            row = rows.get(Token, form[1])
        if row is None or row.revoked_at is not None:
            return None
        if not hmac.compare_digest(_hash(form[2], row.salt), row.hash):
            return None
        return Caller(row.id, row.name, row.scope)  # type: ignore[arg-type]

    def live(self, token_id: str) -> bool:
        """Whether the token is still one, for requests that last."""
        with self.database.read() as rows:
            row = rows.get(Token, token_id)
        return row is not None and row.revoked_at is None


def _hash(secret: str, salt: bytes) -> bytes:
    """Nobody guesses 256 random bits, so the hash need not be slow: a wrong token costs the server little."""
    return hashlib.sha256(salt + secret.encode()).digest()
