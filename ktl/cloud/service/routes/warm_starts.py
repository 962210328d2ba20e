"""Extractors that the cloud has trained out."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ktl.cloud.knowledge import architecture
from ktl.cloud.service.answers import WarmStartState
from ktl.cloud.service.context import AnyCaller, Here, SessionId
from ktl.cloud.service.media import require_accept
from ktl.cloud.service.payloads import BINARY, awaited, send_whole
from ktl.cloud.service.refusals import Refused
from ktl.protocol import JSON, NAME, SAFETENSORS
from ktl.wire import SessionRequest, decode_message

router = APIRouter(prefix="/v1/sessions/{session}", tags=["warm starts"])

WARM_START = {"content": {SAFETENSORS: BINARY}}
NOT_YET = {"content": {JSON: {"schema": {"$ref": "#/components/schemas/WarmStartState"}}}}


@router.get(
    "/warm-starts/{model}",
    summary="Download an extractor that the cloud has trained",
    response_model=WarmStartState,
    responses={
        200: {"description": "Its weights.", **WARM_START},
        202: {"description": "Not yet.", **NOT_YET},
        206: {"description": "A part of them.", **WARM_START},
        304: {"description": "The client has them."},
        416: {"description": "The range begins after their end."},
    },
)
async def get_warm_start(
    request: Request,
    here: Here,
    who: AnyCaller,
    session: SessionId,
    model: Annotated[str, Path(pattern=f"^{NAME}$", examples=["cnn4"])],
    wait: Annotated[float, Query(ge=0, description="Seconds to wait for it at most, as far as granted.")] = 0.0,
) -> Response:
    """Of a model that the session's request named. As with pairs, its bytes never change."""
    require_accept(request, SAFETENSORS)
    asked = decode_message(await here.in_thread(lambda: here.store.request(session, who.sees)), SessionRequest)
    if model not in asked.warm_starts:
        raise Refused("not-found", f"this session asked for no warm start of {model!r}")
    wanted = architecture(asked, model)
    found = await awaited(
        request,
        here,
        session,
        who,
        wait,
        lambda: here.warm_starting.look(wanted, session),
        lambda found: isinstance(found, bytes),
    )
    if not isinstance(found, bytes):
        state = WarmStartState(model=model, step=found.step, steps=found.steps)
        return Response(state.model_dump_json(), 202, {"Retry-After": "1"}, JSON)
    return send_whole(here, request, found, hashlib.sha256(found).digest())
