"""The middleware of every request and answer: request id, headers, log line, metrics, a bound on how many."""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ktl.cloud.service.metrics import Metrics
from ktl.cloud.service.refusals import Refused, busy, problem
from ktl.cloud.service.tracing import span

MAX_AT_ONCE = 1024  # requests, those that wait for pairs or events included
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}

log = logging.getLogger("ktl.cloud.request")


class Middleware:
    """Around the whole application, as ASGI has it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, https: bool) -> None:
        self.app = app
        self.metrics = metrics
        self.headers = HEADERS | ({"Strict-Transport-Security": "max-age=31536000"} if https else {})
        self.at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if REQUEST_ID.fullmatch(asked) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        began, status = time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        self.at_once += 1
        try:
            if self.at_once > MAX_AT_ONCE:
                full = busy(f"{MAX_AT_ONCE} requests are being served; try again", retry_after=1)
                await problem(full, request_id)(scope, receive, send_with_headers)
            else:
                with span("request", method=scope["method"], path=scope["path"][:200], request_id=request_id):
                    await self.app(scope, receive, send_with_headers)
        except Exception:
            log.exception("a request failed", extra={"request_id": request_id})
            if status:  # part of the answer is out: all that is left is to break it off
                raise
            fault = Refused("internal", f"a fault of the server; its log has it under request id {request_id}")
            self.metrics.errors.labels("internal").inc()
            await problem(fault, request_id)(scope, receive, send_with_headers)
        finally:
            self.at_once -= 1
            self._record(scope, request_id, status, time.monotonic() - began)

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")  # never the raw path: labels must be few
        self.metrics.requests.labels(route, scope["method"], str(status)).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        fields = {
            "request_id": request_id,
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": status,
            "seconds": round(seconds, 4),
            "client": (scope.get("client") or ("",))[0],
            "token": scope["state"].get("token"),  # its id
        }
        log.info("request", extra=fields)
