"""Who is logged in to the status page. A browser holds a random key; the token itself stays here, in memory."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from threading import Lock

from ktl.cloud.service.tokens import Caller, Tokens

HOURS = 12
MAX_LOGINS = 1000  # the oldest makes room


class Logins:
    """Keys of browsers that showed an admin token. A restart of the server ends them all."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self._tokens: OrderedDict[str, tuple[str, float]] = OrderedDict()  # token and end, by key
        self._lock = Lock()

    def begin(self, token: str) -> str | None:
        """A new key for the holder of a valid admin token; None for anybody else."""
        caller = self.tokens.caller(token)
        if caller is None or caller.scope != "admin":
            return None
        key = secrets.token_urlsafe(32)
        with self._lock:
            self._tokens[key] = (token, time.monotonic() + 3600 * HOURS)
            if len(self._tokens) > MAX_LOGINS:
                self._tokens.popitem(last=False)
        return key

    def caller(self, key: str) -> Caller | None:
        """The admin behind a key: None for an unknown or expired one, and as soon as its token is revoked."""
        with self._lock:
            token, end = self._tokens.get(key, ("", 0.0))
        return self.tokens.caller(token) if time.monotonic() < end else None

    def end(self, key: str) -> None:
        """Logs a browser out."""
        with self._lock:
            self._tokens.pop(key, None)
