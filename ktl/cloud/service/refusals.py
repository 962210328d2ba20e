"""Why a request is refused, and the one form in which every error leaves the service (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from ktl.errors import KtlError

MEDIA_TYPE = "application/problem+json"
STATUS = {
    "invalid": 422,
    "damaged": 400,
    "unauthorised": 401,
    "forbidden": 403,
    "quota": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "not-acceptable": 406,
    "timeout": 408,
    "conflict": 409,
    "round-closed": 409,
    "round-not-open": 409,
    "too-large": 413,
    "unsupported-media-type": 415,
    "range-not-satisfiable": 416,
    "round-failed": 422,
    "warm-start-failed": 422,
    "rate-limited": 429,
    "internal": 500,
    "busy": 503,
}


class Refused(KtlError):
    """A request that cannot be met. `kind` is a key of STATUS; `more` is added to the error's body."""

    def __init__(self, kind: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.kind = kind
        self.headers = headers or {}
        self.more = more


def busy(detail: str, retry_after: int) -> Refused:
    """503, to be tried again after `retry_after` seconds."""
    return Refused("busy", detail, {"Retry-After": str(retry_after)})


def problem(refused: Refused, request_id: str) -> JSONResponse:
    """The answer to a refused request."""
    status = STATUS[refused.kind]
    body = {
        "type": f"urn:ktl:error:{refused.kind}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": " ".join(str(refused).split()),
        "request_id": request_id,
    }
    return JSONResponse(body | refused.more, status, refused.headers, MEDIA_TYPE)
