"""What edge and cloud agree on when they meet over HTTP, beside the payloads of `ktl.wire`: docs/reference/protocol.md.

Nothing here imports torch: the command line reads it too.
"""

from __future__ import annotations

import base64
import re
from ipaddress import ip_address

VERSION = 1  # of the protocol, and of its payloads
JSON = f"application/vnd.ktl.v{VERSION}+json"
SAFETENSORS = f"application/vnd.ktl.v{VERSION}+safetensors"
MAX_ROUNDS = 10_000  # of a session
SESSION_ID = r"[0-9a-f]{32}"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # of a token, of an edge in a session, and of a session
CLASS_DIGEST = r"^[0-9a-f]{32}\.[0-9a-f]{64}$"  # salt and digest of the classes' names that a session's edges agree on


_KEY = r"[a-z*][a-z0-9_.*-]*"  # of structured fields, as the rest
_ITEM = r"""(?::[A-Za-z0-9+/=]*:|"(?:[^"\\]|\\["\\])*"|[A-Za-z*][^\s,;"()=]*|-?[0-9.]+|\?[01])"""
_DIGEST = re.compile(
    rf"(?P<algorithm>{_KEY})=:(?P<digest>[A-Za-z0-9+/]*={{0,2}}):(?:; *{_KEY}(?:={_ITEM})?)*"
    r"[ \t]*(?:,[ \t]*(?=[^ \t])|$)"
)


def read_digests(field: str) -> dict[str, bytes]:
    """The digests by algorithm of a Content-Digest or Repr-Digest field, its lines joined by commas.

    The field is a dictionary of structured fields (RFC 9530, RFC 8941): any number of algorithms, each perhaps with
    parameters; of an algorithm that comes twice, the last counts. Raises ValueError for anything else.
    """
    digests: dict[str, bytes] = {}
    rest = field.strip(" \t")
    while rest:
        member = _DIGEST.match(rest)
        if member is None:
            raise ValueError(f"{rest[:80]!r} is no list of digests like sha-256=:BASE64:")
        digests[member["algorithm"]] = base64.b64decode(member["digest"] + "==")
        rest = rest[member.end() :]
    return digests


def digest_field(sha256: bytes) -> str:
    """A digest of 32 bytes as RFC 9530 writes it in Content-Digest and Repr-Digest."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine, so that it may go unencrypted."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
