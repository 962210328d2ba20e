"""Class statistics in, those of all edges out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ktl.class_statistics import MAX_DIMENSION
from ktl.cloud.service.answers import PoolingState
from ktl.cloud.service.context import AnyCaller, EdgeName, Here, RoundNumber, SessionId
from ktl.cloud.service.events import Event
from ktl.cloud.service.media import SENDS_JSON, require_accept, require_content
from ktl.cloud.service.payloads import BINARY, awaited, check_digest, send
from ktl.cloud.service.quotas import read_body
from ktl.cloud.service.refusals import Refused
from ktl.errors import WireError
from ktl.protocol import JSON, SAFETENSORS
from ktl.wire import MAX_HEADER_BYTES, SessionReply, SessionRequest, decode_message, decode_statistics, statistics_bytes

router = APIRouter(prefix="/v1/sessions/{session}/rounds/{round}", tags=["class statistics"])

POOLED = {"content": {SAFETENSORS: BINARY}}


@router.put(
    "/statistics/{edge}",
    summary="Upload an edge's class statistics",
    response_model=PoolingState,
    dependencies=[SENDS_JSON],
    openapi_extra={"requestBody": {"required": True, "content": {SAFETENSORS: BINARY}}},
    responses={200: {"description": "The same bytes were there."}, 201: {"description": "Taken in, on the disk."}},
)
async def put_statistics(
    request: Request, here: Here, who: AnyCaller, session: SessionId, round_: RoundNumber, edge: EdgeName
) -> Response:
    """Idempotent: the same bytes again are 200, others 409. An edge that takes part again replaces what it sent."""
    require_content(request, SAFETENSORS)
    opened, replied = await here.in_thread(lambda: here.store.opening(session, who.sees))
    classes, dimension = (
        decode_message(opened, SessionRequest).num_classes,
        decode_message(replied, SessionReply).latent_dim,
    )
    if dimension > MAX_DIMENSION:
        raise Refused("invalid", f"vectors of {dimension} numbers are not pooled here, only up to {MAX_DIMENSION}")
    payload = await read_body(request, MAX_HEADER_BYTES + statistics_bytes(classes, dimension))
    check_digest(request, payload)

    def take_in() -> tuple[PoolingState, bool]:
        try:
            decode_statistics(payload, classes, dimension)
        except WireError as error:
            raise Refused("invalid", str(error)) from error
        return here.store.pooling.put(session, round_, edge, payload, who.name, who.sees)

    state, new = await here.in_thread(take_in)
    if new:
        here.metrics.received.inc(len(payload))
    if new or not state.edges_missing:  # sent again, since a server died before it told the others
        here.events.tell(Event("round" if state.edges_missing else "ended", session, round_))
    return Response(state.model_dump_json(), 201 if new else 200, media_type=JSON)


@router.get(
    "/pooled",
    summary="Download the class statistics of all edges",
    responses={
        200: {"description": "Their sum.", **POOLED},
        202: {"description": "Not yet.", "content": {JSON: {"schema": {"$ref": "#/components/schemas/PoolingState"}}}},
        206: {"description": "A part of it.", **POOLED},
        304: {"description": "The client has it."},
        416: {"description": "The range begins after its end."},
    },
)
async def get_pooled(
    request: Request,
    here: Here,
    who: AnyCaller,
    session: SessionId,
    round_: RoundNumber,
    wait: Annotated[float, Query(ge=0, description="Seconds to wait for it at most, as far as granted.")] = 0.0,
) -> Response:
    """As with pairs, its bytes never change."""
    require_accept(request, SAFETENSORS)
    found = await awaited(
        request,
        here,
        session,
        who,
        wait,
        lambda: here.store.pooling.sum(session, round_, who.sees),
        lambda found: found is not None,
    )
    if found is None:
        state = await here.in_thread(lambda: here.store.pooling.state(session, round_, who.sees))
        return Response(state.model_dump_json(), 202, {"Retry-After": "1"}, JSON)
    return send(
        here,
        request,
        found.size,
        found.digest,
        lambda start, end: here.store.pooling.read(session, round_, start, end),
    )
