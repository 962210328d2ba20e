"""Versioned media types: what a body claims to be, and what a client accepts."""

from __future__ import annotations

from fastapi import Depends
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
    """Raises Refused (not-acceptable) if the Accept field excludes what a route sends; the closest range decides."""
    weights: dict[str, float] = {}
    for part in ",".join(request.headers.getlist("accept")).split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        weights[kind] = min((_weight(each) for each in parameters), default=1.0)
    asks = any(weights)  # there is such a field, and it is not empty
    ranges = (sent, f"{sent.partition('/')[0]}/*", "*/*")
    if not asks or next((weights[kind] for kind in ranges if kind in weights), 0.0) > 0:
        return
    raise Refused("not-acceptable", f"this route sends {sent}", supported=[sent])


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 1.0


def _sends_json(request: Request) -> None:
    require_accept(request, JSON)


SENDS_JSON = Depends(_sends_json)  # of a route
