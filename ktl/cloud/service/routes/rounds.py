"""Prototypes in, pairs out."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response, StreamingResponse

from ktl.cloud.service.answers import RoundState
from ktl.cloud.service.context import (
    AnyCaller,
    EdgeName,
    Here,
    RoundNumber,
    Service,
    SessionId,
    seconds_to_wait,
)
from ktl.cloud.service.events import Event
from ktl.cloud.service.media import require_accept, require_content
from ktl.cloud.service.quotas import read_body
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.store import Store, Stored
from ktl.cloud.service.tokens import Caller
from ktl.errors import WireError
from ktl.protocol import JSON, SAFETENSORS, digest_field
from ktl.wire import MAX_HEADER_BYTES, SessionRequest, decode_message, decode_prototypes

router = APIRouter(prefix="/v1/sessions/{session}", tags=["rounds"])

MAX_WAIT = 60.0  # seconds
KEEP_ALIVE = 15.0  # seconds between comments in a stream of events
RANGE = re.compile(r"bytes=(\d*)-(\d*)")
BINARY = {"schema": {"type": "string", "format": "binary"}}
PAIRS = {"content": {SAFETENSORS: BINARY}}


@router.put(
    "/rounds/{round}/prototypes/{edge}",
    summary="Upload an edge's prototypes",
    response_model=RoundState,
    openapi_extra={"requestBody": {"required": True, "content": {SAFETENSORS: BINARY}}},
    responses={200: {"description": "The same bytes were there."}, 201: {"description": "Taken in, on the disk."}},
)
async def put_prototypes(
    request: Request, here: Here, who: AnyCaller, session: SessionId, round_: RoundNumber, edge: EdgeName
) -> Response:
    """Idempotent: the same bytes again are 200, others 409."""
    require_content(request, SAFETENSORS)
    opened = await here.in_thread(lambda: here.store.request(session, who.sees))
    num_classes = decode_message(opened, SessionRequest).num_classes
    payload = await read_body(request, MAX_HEADER_BYTES + num_classes * (num_classes + 12))
    _check_digest(request, payload)
    state, new = await here.in_thread(
        lambda: _take_in(here.store, session, round_, edge, payload, who.name, who.sees, num_classes)
    )
    if new:
        here.metrics.uploads.inc()
        here.metrics.received.inc(len(payload))
        here.events.tell(Event("round", session, round_))
        if state.state == "queued":
            here.worker.wake()
    return Response(state.model_dump_json(), 201 if new else 200, media_type=JSON)


def _take_in(
    store: Store, session: str, number: int, edge: str, payload: bytes, name: str, sees: str | None, num_classes: int
) -> tuple[RoundState, bool]:
    try:
        decode_prototypes(payload, num_classes)
    except WireError as error:
        raise Refused("invalid", str(error)) from error
    return store.put_prototypes(session, number, edge, payload, name, sees)


def _check_digest(request: Request, payload: bytes) -> None:
    told = request.headers.get("content-digest")
    if told is not None and told != digest_field(hashlib.sha256(payload).digest()):
        raise Refused("invalid", "the body does not have its Content-Digest: it was damaged on its way; send it again")


@router.get("/rounds/{round}", summary="Where a round is", response_model=RoundState)
async def show_round(here: Here, who: AnyCaller, session: SessionId, round_: RoundNumber) -> Response:
    """Its state, and which edges are in."""
    state = await here.in_thread(lambda: here.store.round(session, round_, who.sees))
    return Response(here.live(session, state).model_dump_json(), media_type=JSON)


@router.get(
    "/rounds/{round}/pairs",
    summary="Download a round's image-vector pairs",
    responses={
        200: {"description": "The pairs.", **PAIRS},
        202: {"description": "Not yet.", "content": {JSON: {"schema": {"$ref": "#/components/schemas/RoundState"}}}},
        206: {"description": "A part of them.", **PAIRS},
        304: {"description": "The client has them."},
        416: {"description": "The range begins after their end."},
    },
)
async def get_pairs(
    request: Request,
    here: Here,
    who: AnyCaller,
    session: SessionId,
    round_: RoundNumber,
    wait: Annotated[float, Query(ge=0, description="Seconds to wait for them, at most 60.")] = 0.0,
) -> Response:
    """Supports `If-None-Match`, `Range` and `If-Range`; the bytes of a round never change."""
    require_accept(request, SAFETENSORS)
    state = await _until_drawn(here, session, round_, who, seconds_to_wait(wait, MAX_WAIT))
    if state.state == "failed":
        raise Refused("round-failed", state.error or "the round failed")
    if state.state != "done":
        return Response(here.live(session, state).model_dump_json(), 202, {"Retry-After": "1"}, JSON)
    stored = await here.in_thread(lambda: here.store.stored(session, round_))
    return _send(here, request, stored)


async def _until_drawn(here: Service, session: str, number: int, who: Caller, seconds: float) -> RoundState:
    """The round when it is done or failed, or as it is after so many seconds."""
    until = time.monotonic() + seconds
    with here.events.listen(session, ends_only=True) as changes:
        while True:
            state = await here.in_thread(lambda: here.store.round(session, number, who.sees))
            left = until - time.monotonic()
            if state.state in ("done", "failed") or left <= 0 or changes.stopping:
                return state
            await changes.wait(left)
            await _still_welcome(here, who)


async def _still_welcome(here: Service, who: Caller) -> None:
    """Raises Refused (unauthorised) if the token was revoked while its request waited."""
    if not await here.in_thread(lambda: here.tokens.live(who.token)):
        raise Refused("unauthorised", "the token was revoked", {"WWW-Authenticate": "Bearer"})


def _send(here: Service, request: Request, stored: Stored) -> Response:
    etag = f'"{stored.digest.hex()}"'
    headers = {"ETag": etag, "Repr-Digest": digest_field(stored.digest), "Accept-Ranges": "bytes"}
    headers["Cache-Control"] = "private, no-cache"  # the client may keep them, and asks again with its token
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    start, end, status = 0, stored.size, 200
    if request.headers.get("if-range", etag) == etag:
        start, end, status = _range(request.headers.get("range"), stored.size)
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.size}"
    headers["Content-Length"] = str(end - start)
    pieces = iterate_in_threadpool(_counted(here, here.store.read(stored, start, end)))
    return StreamingResponse(pieces, status, headers, SAFETENSORS)


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
        unsatisfiable = f"the pairs have {size} bytes, none of them in {header}"
        raise Refused("range-not-satisfiable", unsatisfiable, {"Content-Range": f"bytes */{size}"})
    return start, end, 206


def _counted(here: Service, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        here.metrics.sent.inc(len(piece))
        yield piece


@router.get(
    "/events",
    summary="Follow a session",
    responses={200: {"description": "Server-sent events.", "content": {"text/event-stream": {}}}},
)
async def follow(request: Request, here: Here, who: AnyCaller, session: SessionId) -> Response:
    """A `round` event now and after each change; `deleted` ends the stream."""
    require_accept(request, "text/event-stream")
    await here.in_thread(lambda: here.store.request(session, who.sees))  # 404 before the stream begins
    return StreamingResponse(_events(here, session, who), media_type="text/event-stream")


async def _events(here: Service, session: str, who: Caller) -> AsyncIterator[str]:
    with here.events.listen(session) as changes:
        told = ""
        while not changes.stopping:
            text = await _event(here, session, who)
            if text != told:
                told = text
                yield text
            if text.startswith("event: deleted"):
                return
            if not await changes.wait(KEEP_ALIVE):
                yield ": still here\n\n"
            try:
                await _still_welcome(here, who)
            except Refused:
                return


async def _event(here: Service, session: str, who: Caller) -> str:
    try:
        state = await here.in_thread(lambda: here.store.session(session, who.sees))
    except Refused:
        return "event: deleted\ndata: {}\n\n"
    if state.round is None:
        return ""
    return f"event: round\ndata: {here.live(session, state.round).model_dump_json()}\n\n"
