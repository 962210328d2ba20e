"""How routes wait for a payload, send one or a part of it, and check one that came."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

import anyio
from fastapi import Request
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from ktl.cloud.service.context import Service, presence_of, seconds_to_wait
from ktl.cloud.service.events import Changes
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.tokens import Caller
from ktl.protocol import SAFETENSORS, digest_field, read_digests

Seen = TypeVar("Seen")

RANGE = re.compile(r"bytes=(\d*)-(\d*)")
HASHES = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}  # of other algorithms nothing is checked
BINARY = {"schema": {"type": "string", "format": "binary"}}  # in the OpenAPI document


def check_digest(request: Request, payload: bytes) -> None:
    """Raises Refused: damaged for a body that has other digests than its fields tell, invalid for a field that is none.

    A body of an upload is all of what it represents, so Content-Digest and Repr-Digest tell the same.
    """
    for name in ("Content-Digest", "Repr-Digest"):
        try:
            told = read_digests(", ".join(request.headers.getlist(name)))
        except ValueError as error:
            raise Refused("invalid", f"{name}: {error}") from error
        for algorithm in HASHES.keys() & told.keys():
            if told[algorithm] != HASHES[algorithm](payload).digest():
                raise Refused("damaged", f"the body does not have the {algorithm} of its {name}: send it again")


async def awaited(
    request: Request,
    here: Service,
    session: str,
    who: Caller,
    wait: float,
    look: Callable[[], Seen],
    ready: Callable[[Seen], bool],
) -> Seen:
    """What `look` sees in the store once that is `ready`, or as it is after `wait` seconds, as far as granted.

    Where nothing happened meanwhile the store is not asked again: thousands may wait.

    Raises ClientDisconnect when the client has gone meanwhile, Refused (rate-limited) when too many of its token wait.
    """
    until = time.monotonic() + seconds_to_wait(wait, here.settings.most_wait)
    with here.events.listen(session, ends_only=True) as changes:
        while True:
            seen = await here.in_thread(look)
            left = until - time.monotonic()
            if ready(seen) or left <= 0 or changes.stopping:
                return seen
            if not await _changed(request, changes, left) and not changes.on_the_way:
                return seen
            await still_welcome(here, who)


async def _changed(request: Request, changes: Changes, seconds: float) -> bool:
    """Waits for a change, at most so many seconds; False if there was none. Raises as `awaited` does."""
    gone = changed = False
    presence_of(request).wait()
    async with anyio.create_task_group() as both:

        async def watch_client() -> None:
            nonlocal gone
            while (await request.receive())["type"] != "http.disconnect":
                pass
            gone = True
            both.cancel_scope.cancel()

        both.start_soon(watch_client)
        changed = await changes.wait(seconds)
        both.cancel_scope.cancel()
    presence_of(request).go_on()
    if gone:
        raise ClientDisconnect
    return changed


async def still_welcome(here: Service, who: Caller) -> None:
    """Raises Refused (unauthorised) if the token was revoked while its request waited."""
    if not await here.in_thread(lambda: here.tokens.live(who.token)):
        raise Refused("unauthorised", "the token was revoked", {"WWW-Authenticate": "Bearer"})


def send(
    here: Service, request: Request, size: int, digest: bytes, read: Callable[[int, int], Iterator[bytes]]
) -> Response:
    """A payload of `size` bytes, or the part that the request asks for; read(start, end) gives its bytes.

    `digest` is its SHA-256. Raises Refused (range-not-satisfiable).
    """
    etag = f'"{digest.hex()}"'
    headers = {"ETag": etag, "Repr-Digest": digest_field(digest), "Accept-Ranges": "bytes"}
    headers["Cache-Control"] = "private, no-cache"  # the client may keep them, and asks again with its token
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    start, end, status = 0, size, 200
    if request.headers.get("if-range", etag) == etag:
        start, end, status = _range(request.headers.get("range"), size)
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    pieces = iterate_in_threadpool(_counted(here, read(start, end)))
    return StreamingResponse(pieces, status, headers, SAFETENSORS)


def send_whole(here: Service, request: Request, payload: bytes, digest: bytes) -> Response:
    """As `send`, of a payload that is in memory; `digest` is its SHA-256."""

    def read(start: int, end: int) -> Iterator[bytes]:
        yield payload[start:end]

    return send(here, request, len(payload), digest, read)


def stream_events(events: AsyncIterator[str]) -> Response:
    """Server-sent events, which a proxy in front passes on at once."""
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _range(header: str | None, size: int) -> tuple[int, int, int]:
    """start, end and status; anything but one range of bytes is ignored, as RFC 9110 allows."""
    match = RANGE.fullmatch((header or "").replace(" ", "")[:100])
    if match is None or match.groups() == ("", ""):
        return 0, size, 200
    first, last = match.groups()
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if first and last and int(last) < int(first):
        return 0, size, 200
    if start >= size or (not first and int(last) == 0):
        unsatisfiable = f"the payload has {size} bytes, none of them in {header}"
        raise Refused("range-not-satisfiable", unsatisfiable, {"Content-Range": f"bytes */{size}"})
    return start, end, 206


def _counted(here: Service, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        here.metrics.sent.inc(len(piece))
        yield piece
