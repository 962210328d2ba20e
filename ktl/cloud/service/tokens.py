"""Bearer tokens: 256 random bits, kept as hashes, revoked at once."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import get_args

from sqlalchemy import select, update
from sqlalchemy.orm import Session as Rows

from ktl.cloud.service.audit import record
from ktl.cloud.service.database import Database
from ktl.cloud.service.models import Scope, Token
from ktl.errors import UsageError
from ktl.protocol import NAME

SCOPES = get_args(Scope)
FORM = re.compile(r"ktl_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
MAX_REMEMBERED = 50_000  # tokens, 100 bytes each
MAX_SECONDS = 100 * 365 * 86_400.0  # that a token may live


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
    """Makes, lists, exchanges, revokes and checks tokens. `by` is the admin who asks for it, told to the audit log."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._right: OrderedDict[bytes, Caller] = OrderedDict()  # SHA-256 of tokens that were right
        self._used: dict[str, float] = {}  # times of last use that are not yet in the database, by token id
        self._lock = Lock()

    def create(self, name: str, scope: str, seconds: float | None = None, by: str | None = None) -> str:
        """A new token, told this once. It ends after `seconds`, or never. Raises UsageError for an impossible one."""
        return self.create_all([name], scope, seconds, by)[name]

    def create_all(
        self,
        names: Sequence[str],
        scope: str,
        seconds: float | None = None,
        by: str | None = None,
        keep: Callable[[dict[str, str]], None] = lambda made: None,
    ) -> dict[str, str]:
        """A new token for each name: all of them, or none. They exist once `keep` has them. Raises UsageError."""
        if scope not in SCOPES:
            raise UsageError(f"unknown scope {scope!r}: choose one of {', '.join(SCOPES)}")
        if seconds is not None and not 0 < seconds <= MAX_SECONDS:
            raise UsageError(f"a token that ends after {seconds:g} s: give a duration above 0 and of 100 years at most")
        for name, count in Counter(names).items():
            if not re.fullmatch(NAME, name):
                raise UsageError(
                    f"the token name {name[:80]!r} must be 1 to 64 letters, digits, '.', '_' or '-', the first a "
                    "letter or digit"
                )
            if count > 1:
                raise UsageError(f"the token name {name!r} was given {count} times: give each name once")
        with self.database.write() as rows:
            made = {name: _add(rows, name, scope, seconds, by) for name in names}
            rows.flush()
            keep(made)
            return made

    def create_first(self, keep: Callable[[dict[str, str]], None]) -> None:
        """Makes a token of scope admin and one of scope edge if there is none yet. They exist once `keep` has them."""
        with self.database.write() as rows:
            if rows.scalar(select(Token.id).limit(1)) is None:
                made = {scope: _add(rows, scope, scope, None, None) for scope in ("admin", "edge")}
                rows.flush()
                keep(made)

    def all(self) -> list[Token]:
        """Every token, oldest first; their secrets are not known."""
        with self.database.read() as rows:
            return list(rows.scalars(select(Token).order_by(Token.created_at, Token.id)))

    def page(self, limit: int, after: str | None) -> list[Token]:
        """At most `limit` tokens in the order of their ids, those after the id `after`."""
        query = select(Token).order_by(Token.id).limit(limit)
        with self.database.read() as rows:
            return list(rows.scalars(query if after is None else query.where(Token.id > after)))

    def revoke(self, token_id: str, by: str | None = None) -> Token:
        """Ends a token. Raises UsageError if there is none of this id."""
        with self.database.write() as rows:
            row = _found(rows, token_id)
            row.revoked_at = row.revoked_at or time.time()
            record(rows, by, "token revoked", f"{row.id} ({row.name})")
            return row

    def rotate(self, token_id: str, grace: float, by: str | None = None) -> tuple[str, str]:
        """Name and secret of a new token in place of a live one, which ends after `grace` seconds.

        It has the old one's scope and length of life. Raises UsageError if there is none of this id, or it has ended.
        """
        with self.database.write() as rows:
            row, now = _found(rows, token_id), time.time()
            if not _lives(row, now):
                raise UsageError(f"the token {token_id!r} has ended: create a new one named {row.name!r}")
            life = None if row.expires_at is None else row.expires_at - row.created_at
            row.expires_at = min(now + max(grace, 0.0), row.expires_at or float("inf"))
            record(rows, by, "token rotated", f"{row.id} ({row.name})")
            return row.name, _add(rows, row.name, row.scope, life, by)

    def caller(self, token: str) -> Caller | None:
        """Whose token this is; None if it is nobody's, or has ended. The database is asked every time."""
        form = FORM.fullmatch(token)
        if form is None:
            return None
        with self.database.read() as rows:
            row = rows.get(Token, form[1])
        now, key = time.time(), _key(token)
        if row is None or not _lives(row, now) or not hmac.compare_digest(_hash(form[2], row.salt), row.hash):
            with self._lock:
                self._right.pop(key, None)
            return None
        caller = Caller(row.id, row.name, row.scope)  # type: ignore[arg-type]
        with self._lock:
            self._used[row.id] = now
            self._right[key] = caller
            self._right.move_to_end(key)
            if len(self._right) > MAX_REMEMBERED:
                self._right.popitem(last=False)
        return caller

    def remembered(self, token: str) -> Caller | None:
        """Whose token this was when this process last found it right; the database is not asked."""
        with self._lock:
            return self._right.get(_key(token))

    def live(self, token_id: str) -> bool:
        """Whether the token is still one, for requests that last."""
        with self.database.read() as rows:
            row = rows.get(Token, token_id)
        return row is not None and _lives(row, time.time())

    def write_uses(self) -> None:
        """Brings the times of last use into the database: one transaction for all tokens, not one for each request."""
        with self._lock:
            used, self._used = self._used, {}
        if used:
            with self.database.write() as rows:
                rows.execute(update(Token), [{"id": token, "used_at": at} for token, at in used.items()])


def _add(rows: Rows, name: str, scope: str, seconds: float | None, by: str | None) -> str:
    token_id, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_bytes(16)
    now = time.time()
    expires_at = None if seconds is None else now + seconds
    hashed = _hash(secret, salt)
    rows.add(Token(id=token_id, name=name, scope=scope, salt=salt, hash=hashed, created_at=now, expires_at=expires_at))
    record(rows, by, "token created", f"{token_id} ({name}, {scope})")
    return f"ktl_{token_id}_{secret}"


def _found(rows: Rows, token_id: str) -> Token:
    row = rows.get(Token, token_id)
    if row is None:
        raise UsageError(f"there is no token {token_id[:80]!r}; `ktl cloud token list` shows them")
    return row


def _lives(row: Token, now: float) -> bool:
    return row.revoked_at is None and (row.expires_at is None or now < row.expires_at)


def _hash(secret: str, salt: bytes) -> bytes:
    """Nobody guesses 256 random bits, so the hash need not be slow: a wrong token costs the server little."""
    return hashlib.sha256(salt + secret.encode()).digest()


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
