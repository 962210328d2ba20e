"""How edges that learn together agree on their classes: each checks its names, in order, against one digest.

Classes travel as numbers. The cloud has a salted digest of the list of their names, which tells an edge whether its own
list is the same, and a stranger nothing but whether a guess of the whole list is right. Each guess takes a tenth of a
second. Who creates a session makes its digest; over Flower the server gives all nodes one salt, and compares.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ktl.errors import UsageError

SALT_BYTES = 16
SLOW = {"n": 2**15, "r": 8, "p": 1, "maxmem": 2**26, "dklen": 32}  # of scrypt


def read_class_names(file: Path) -> list[str]:
    """The names in a text file, one a line, in its order. Raises UsageError for a file that is no such list."""
    try:
        lines = [unicodedata.normalize("NFC", line.strip()) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--classes {file} cannot be read ({error}): give a text file of names, one a line") from error
    names = [line for line in lines if line]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"--classes {file} has {twice[0]!r} twice: give each class once")
    if len(names) < 2:
        raise UsageError(f"--classes {file} has {len(names)} names: give at least two, one a line")
    return names


def new_salt() -> str:
    """32 hexadecimal digits."""
    return secrets.token_hex(SALT_BYTES)


def class_digest(names: Sequence[str], salt: str | None = None) -> str:
    """What is told of classes' names: a salt (a new one if none), a dot and the digest, in hexadecimal digits."""
    salt = salt or new_salt()
    return f"{salt}.{_digest(names, bytes.fromhex(salt)).hex()}"


def is_agreed(names: Sequence[str], digest: str) -> bool:
    """Whether these are the names, in the same order, that `digest` was made of."""
    salt, _, expected = digest.partition(".")
    return hmac.compare_digest(_digest(names, bytes.fromhex(salt)).hex(), expected)


def _digest(names: Sequence[str], salt: bytes) -> bytes:
    return hashlib.scrypt(json.dumps([*names]).encode(), salt=salt, **SLOW)
