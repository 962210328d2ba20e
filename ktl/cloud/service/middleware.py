"""The middleware of every request and answer: request id, headers, log line, metrics, its place in the crowd."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ktl.cloud.service.crowd import Crowd, Presence
from ktl.cloud.service.metrics import Metrics
from ktl.cloud.service.refusals import Refused, problem
from ktl.cloud.service.tracing import span

HEALTH = {"/healthz", "/readyz"}  # answered however many others are being served
CLIENT_GONE = 499  # in logs and metrics, as nginx has it
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

    def __init__(self, app: ASGIApp, metrics: Metrics, crowd: Crowd, https: bool) -> None:
        self.app = app
        self.metrics = metrics
        self.headers = HEADERS | ({"Strict-Transport-Security": "max-age=31536000"} if https else {})
        self.crowd = crowd

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if REQUEST_ID.fullmatch(asked) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        began, status = time.monotonic(), 0

        presence = scope["state"]["presence"] = Presence(self.crowd)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            presence.clear_door()
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._serve(scope, receive, send_with_headers, presence)
        except ClientDisconnect:  # while it waited: nobody is left to be answered
            status = status or CLIENT_GONE
        except Exception:
            log.exception("a request failed", extra={"request_id": request_id})
            if status:  # part of the answer is out: all that is left is to break it off
                raise
            fault = Refused("internal", f"a fault of the server; its log has it under request id {request_id}")
            self.metrics.errors.labels("internal").inc()
            await problem(fault, request_id)(scope, receive, send_with_headers)
        finally:
            presence.leave()
            self._record(scope, request_id, status, time.monotonic() - began)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, presence: Presence) -> None:
        """Answers it, or says that there are too many. Raises ClientDisconnect for one whose client has gone."""
        request_id = scope["state"]["request_id"]
        if scope["path"] not in HEALTH:
            if full := presence.no_room(scope["state"]["crowded"]):
                await problem(full, request_id)(scope, receive, send)
                return
            await presence.come_in()
            if scope["state"]["gone"]():
                await asyncio.sleep(0)  # uvicorn is told of it in its loop's next round
                raise ClientDisconnect

        async def receive_outside() -> Message:
            presence.clear_door()
            return await receive()

        with span("request", method=scope["method"], path=scope["path"][:200], request_id=request_id):
            await self.app(scope, receive_outside, send)

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
