"""Opening, finding and deleting sessions."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Annotated

import anyio
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from ktl.cloud.knowledge import KnowledgeCloud
from ktl.cloud.round_bounds import RoundBounds, round_bounds
from ktl.cloud.service.answers import SessionPage, SessionState, message_schema
from ktl.cloud.service.audit import record_alone
from ktl.cloud.service.context import AnyCaller, Here, Service, SessionId
from ktl.cloud.service.events import Event
from ktl.cloud.service.media import SENDS_JSON, require_accept, require_content
from ktl.cloud.service.payloads import BINARY, send_whole
from ktl.cloud.service.quotas import read_body
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.store import Opening
from ktl.errors import KtlError
from ktl.etf import simplex_etf
from ktl.protocol import CLASS_DIGEST, JSON, MAX_ROUNDS, SAFETENSORS, SESSION_ID
from ktl.protocol import NAME as EDGE_NAME
from ktl.seeds import stream
from ktl.wire import MAX_JSON_BYTES, SessionReply, SessionRequest, decode_message, encode_frame, encode_message

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])

NAME = r"^[A-Za-z0-9._-]{1,64}$"
REQUEST_EXAMPLE = {
    "version": 1,
    "num_classes": 10,
    "image_size": 28,
    "channels": 1,
    "pairs_per_class": 200,
    "download_bytes": 1_400_000,
    "alignment": "robust",
    "image_format": "webp",
    "seed": 0,
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": message_schema(SessionRequest), "example": REQUEST_EXAMPLE}},
    }
}
OPENED = {"content": {JSON: {"schema": message_schema(SessionReply)}}}


@router.post(
    "",
    summary="Open a session",
    status_code=201,
    dependencies=[SENDS_JSON],
    openapi_extra=BODY,
    responses={201: {"description": "A new session.", **OPENED}, 200: {"description": "The same again.", **OPENED}},
)
async def open_session(
    request: Request,
    here: Here,
    who: AnyCaller,
    idempotency_key: Annotated[str, Header(pattern=NAME, examples=["3f2a91c0"])],
    quorum: Annotated[int, Query(ge=1, description="Edges that a round waits for.")] = 1,
    deadline: Annotated[
        float | None, Query(gt=0, le=30 * 86_400, description="Seconds after the first upload.")
    ] = None,
    member: Annotated[list[Annotated[str, Query(pattern=NAME)]], Query(max_length=1000)] = [],  # noqa: B006
    name: Annotated[str | None, Query(pattern=f"^{EDGE_NAME}$", description="By which its edges find it.")] = None,
    rounds: Annotated[int | None, Query(ge=1, le=MAX_ROUNDS, description="How many it has.")] = None,
    classes: Annotated[str | None, Query(pattern=CLASS_DIGEST, description="Of the classes' names.")] = None,
) -> Response:
    """The same `Idempotency-Key` with the same request opens no second session."""
    require_content(request, JSON)
    asked = await read_body(request, MAX_JSON_BYTES)
    if quorum > here.settings.most_quorum:
        raise Refused("invalid", f"quorum is {quorum}: this server grants at most {here.settings.most_quorum}")
    message, reply, bounds = await here.in_thread(lambda: _answer(here, asked, quorum))
    asked_for = (quorum, deadline, tuple(member), name, rounds, classes)
    opening = Opening(who.name, idempotency_key, message, reply, *asked_for, bounds)
    session, reply, new = await here.in_thread(lambda: here.store.open_session(opening))
    if new:
        here.events.tell(Event("opened", session))
    return Response(reply, 201 if new else 200, {"Location": f"/v1/sessions/{session}"}, JSON)


def _answer(here: Service, asked: bytes, quorum: int) -> tuple[bytes, bytes, RoundBounds]:
    """The request in its one form, the reply, and what a round may take. Raises Refused (invalid)."""
    settings = here.settings
    try:
        request = decode_message(asked, SessionRequest)
        cloud = KnowledgeCloud(here.generator, request, here.space, here.warm_starting.warm_starts)
        reply, bounds = cloud.reply(), round_bounds(cloud, quorum)
    except KtlError as error:
        raise Refused("invalid", str(error)) from error
    for name, limit in (("image_size", settings.most_image_size), ("download_bytes", settings.most_download)):
        if getattr(request, name) > limit:
            raise Refused("invalid", f"{name} is {getattr(request, name):,}: this server grants at most {limit:,}")
    if bounds.pairs > settings.most_pairs:
        raise Refused("invalid", f"a round may have {bounds.pairs:,} pairs: {_grants(settings.most_pairs)}")
    if bounds.memory > (largest := here.worker.memory.largest):
        raise Refused("invalid", f"a round may take {bounds.memory:,} bytes of memory: {_grants(largest)}")
    return encode_message(request), encode_message(reply), bounds


def _grants(limit: int) -> str:
    smaller = "ask for smaller num_classes, pairs_per_class, download_bytes, image_size or quorum"
    return f"this server grants at most {limit:,}; {smaller}"


@router.get("", summary="List sessions", response_model=SessionPage, dependencies=[SENDS_JSON])
async def list_sessions(
    here: Here,
    who: AnyCaller,
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
    after: Annotated[str | None, Query(pattern=f"^{SESSION_ID}$")] = None,
    name: Annotated[str | None, Query(pattern=f"^{EDGE_NAME}$", description="Of this name alone.")] = None,
) -> Response:
    """Those that the token opened or is a member of, newest first; an admin sees all."""
    states = await here.in_thread(lambda: here.store.sessions(who.sees, limit + 1, after, name))
    page = SessionPage(sessions=states[:limit], next=states[limit - 1].id if len(states) > limit else None)
    return Response(page.model_dump_json(), media_type=JSON)


@router.get(
    "/{session}", summary="A session and its latest round", response_model=SessionState, dependencies=[SENDS_JSON]
)
async def show_session(here: Here, who: AnyCaller, session: SessionId) -> Response:
    """404 for a session of others, as for one that never was."""
    state = await here.in_thread(lambda: here.store.session(session, who.sees))
    if state.round is not None:
        state.round = here.live(session, state.round)
    return Response(state.model_dump_json(), media_type=JSON)


@router.get(
    "/{session}/etf",
    summary="Download the session's simplex ETF",
    responses={200: {"description": "A vector for each class.", "content": {SAFETENSORS: BINARY}}},
)
async def get_etf(request: Request, here: Here, who: AnyCaller, session: SessionId) -> Response:
    """For edges that cannot make it from `etf_seed`. As with pairs, its bytes never change."""
    require_accept(request, SAFETENSORS)
    opened, replied = await here.in_thread(lambda: here.store.opening(session, who.sees))
    asked, reply = decode_message(opened, SessionRequest), decode_message(replied, SessionReply)
    etf = await anyio.to_thread.run_sync(_etf, asked.num_classes, reply.etf_seed, limiter=here.etf_threads)
    return send_whole(here, request, *etf)


@lru_cache(maxsize=4)
def _etf(classes: int, seed: int) -> tuple[bytes, bytes]:
    payload = encode_frame(simplex_etf(classes, classes, stream(seed, "etf")))
    return payload, hashlib.sha256(payload).digest()


@router.delete("/{session}", summary="Delete a session with all its data", status_code=204)
async def delete_session(here: Here, who: AnyCaller, session: SessionId) -> Response:
    """Its opener may, and an admin."""
    await here.in_thread(lambda: here.store.delete_session(session, who.sees))
    here.events.tell(Event("deleted", session))
    if who.scope == "admin":
        await here.in_thread(lambda: record_alone(here.database, who.name, "deleted", f"session {session}"))
    return Response(status_code=204)
