"""HEAD: what GET would answer, without its body."""

from __future__ import annotations

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """Around the application, as ASGI has it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        begun = anyio.Event()
        # by this version of ASGI whoever streams an answer, perhaps without end, stops when its client has gone
        as_get = dict(scope) | {"method": "GET", "asgi": scope["asgi"] | {"spec_version": "2.3"}}

        async def gone_once_begun() -> Message:
            await begun.wait()
            return {"type": "http.disconnect"}

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope["route"] = as_get.get("route")  # for the metrics
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                begun.set()

        await self.app(as_get, gone_once_begun, send_head)
