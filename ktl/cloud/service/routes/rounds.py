"""Prototypes in, pairs out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ktl.alignment import ALIGNMENTS
from ktl.cloud.service.answers import RoundState
from ktl.cloud.service.context import (
    AnyCaller,
    EdgeName,
    Here,
    RoundNumber,
    Service,
    SessionId,
    presence_of,
)
from ktl.cloud.service.events import Event
from ktl.cloud.service.media import SENDS_JSON, require_accept, require_content
from ktl.cloud.service.payloads import BINARY, awaited, check_digest, send, still_welcome, stream_events
from ktl.cloud.service.quotas import read_body
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.tokens import Caller
from ktl.errors import WireError
from ktl.protocol import JSON, SAFETENSORS
from ktl.wire import MAX_HEADER_BYTES, SessionRequest, decode_message, decode_prototypes

router = APIRouter(prefix="/v1/sessions/{session}", tags=["rounds"])

KEEP_ALIVE = 15.0  # seconds between comments in a stream of events
PAIRS = {"content": {SAFETENSORS: BINARY}}


@router.put(
    "/rounds/{round}/prototypes/{edge}",
    summary="Upload an edge's prototypes",
    response_model=RoundState,
    dependencies=[SENDS_JSON],
    openapi_extra={"requestBody": {"required": True, "content": {SAFETENSORS: BINARY}}},
    responses={200: {"description": "The same bytes were there."}, 201: {"description": "Taken in, on the disk."}},
)
async def put_prototypes(
    request: Request, here: Here, who: AnyCaller, session: SessionId, round_: RoundNumber, edge: EdgeName
) -> Response:
    """Idempotent: the same bytes again are 200, others 409."""
    require_content(request, SAFETENSORS)
    opened = await here.in_thread(lambda: here.store.request(session, who.sees))
    asked = decode_message(opened, SessionRequest)
    num_classes, reads = asked.num_classes, ALIGNMENTS.load(asked.alignment).reads_prototypes
    payload = await read_body(request, MAX_HEADER_BYTES + num_classes * (num_classes + 12))
    check_digest(request, payload)

    def take_in() -> tuple[RoundState, bool]:
        try:
            prototypes = decode_prototypes(payload, num_classes)
        except WireError as error:
            raise Refused("invalid", str(error)) from error
        if reads and prototypes.vectors.shape[1] == 0:
            reason = "the session's alignment reads prototypes: send vectors, not only classes and counts"
            raise Refused("invalid", reason)
        return here.store.put_prototypes(session, round_, edge, payload, who.name, who.sees)

    state, new = await here.in_thread(take_in)
    if new:
        here.metrics.uploads.inc()
        here.metrics.received.inc(len(payload))
        here.events.tell(Event("queued" if state.state == "queued" else "round", session, round_))
    return Response(state.model_dump_json(), 201 if new else 200, media_type=JSON)


@router.get("/rounds/{round}", summary="Where a round is", response_model=RoundState, dependencies=[SENDS_JSON])
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
    wait: Annotated[float, Query(ge=0, description="Seconds to wait for them at most, as far as granted.")] = 0.0,
) -> Response:
    """Supports `If-None-Match`, `Range` and `If-Range`; the bytes of a round never change."""
    require_accept(request, SAFETENSORS)
    state = await awaited(
        request,
        here,
        session,
        who,
        wait,
        lambda: here.store.round(session, round_, who.sees),
        lambda state: state.state in ("done", "failed"),
    )
    if state.state == "failed":
        raise Refused("round-failed", state.error or "the round failed")
    if state.state != "done":
        return Response(here.live(session, state).model_dump_json(), 202, {"Retry-After": "1"}, JSON)
    stored = await here.in_thread(lambda: here.store.stored(session, round_))
    return send(here, request, stored.size, stored.digest, lambda start, end: here.store.read(stored, start, end))


@router.get(
    "/events",
    summary="Follow a session",
    responses={200: {"description": "Server-sent events.", "content": {"text/event-stream": {}}}},
)
async def follow(request: Request, here: Here, who: AnyCaller, session: SessionId) -> Response:
    """A `round` event now and after each change; `deleted` ends the stream."""
    require_accept(request, "text/event-stream")
    await here.in_thread(lambda: here.store.request(session, who.sees))  # 404 before the stream begins
    presence_of(request).wait()
    return stream_events(_events(here, session, who))


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
                await still_welcome(here, who)
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
