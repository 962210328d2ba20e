"""What edge and cloud agree on when they meet over HTTP, beside the payloads of `ktl.wire`: docs/protocol.md.

Nothing here imports torch: the command line reads it too.
"""

from __future__ import annotations

import base64
from ipaddress import ip_address

VERSION = 1  # of the protocol, and of its payloads
JSON = f"application/vnd.ktl.v{VERSION}+json"
SAFETENSORS = f"application/vnd.ktl.v{VERSION}+safetensors"
MAX_ROUNDS = 10_000  # of a session
SESSION_ID = r"[0-9a-f]{32}"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # of a token, and of an edge in a session


def digest_field(sha256: bytes) -> str:
    """A digest of 32 bytes as RFC 9530 writes it in Content-Digest and Repr-Digest."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine, so that it may go unencrypted."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
