"""Versioned media types: what a body claims to be, and what a client accepts."""

from __future__ import annotations

from starlette.requests import Request

from ktl.cloud.service.refusals import Refused
from ktl.protocol import JSON, SAFETENSORS

SUPPORTED = [JSON, SAFETENSORS]


def require_content(request: Request, wanted: str) -> None:
    """Raises Refused (unsupported-media-type), naming the supported ones, if the body is of another type or version."""
    told = request.headers.get("content-type", "")
    if told.partition(";")[0].strip().lower() != wanted:
        raise Refused(
            "unsupported-media-type",
            f"Content-Type {told[:100]!r}: this route reads {wanted}; this server speaks {', '.join(SUPPORTED)}",
            supported=SUPPORTED,
        )


def require_accept(request: Request, sent: str) -> None:
    """Raises Refused (not-acceptable) if the client accepts nothing that a route sends."""
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "*/*").split(",")]
    if not {sent, "*/*", f"{sent.partition('/')[0]}/*"} & set(accepted):
        raise Refused("not-acceptable", f"this route sends {sent}", supported=[sent])
