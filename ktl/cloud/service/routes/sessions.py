"""Opening, finding and deleting sessions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from ktl.cloud.knowledge import KnowledgeCloud
from ktl.cloud.service.answers import SessionPage, SessionState, message_schema
from ktl.cloud.service.context import AnyCaller, Here, Service, SessionId
from ktl.cloud.service.events import Event
from ktl.cloud.service.media import require_accept, require_content
from ktl.cloud.service.quotas import read_body
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.store import Opening
from ktl.errors import KtlError
from ktl.protocol import JSON, SESSION_ID
from ktl.wire import MAX_JSON_BYTES, SessionReply, SessionRequest, decode_message, encode_message

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
) -> Response:
    """The same `Idempotency-Key` with the same request opens no second session."""
    require_content(request, JSON)
    require_accept(request, JSON)
    asked = await read_body(request, MAX_JSON_BYTES)
    if quorum > here.settings.most_quorum:
        raise Refused("invalid", f"quorum is {quorum}: this server grants at most {here.settings.most_quorum}")
    message, reply = await here.in_thread(lambda: _answer(here, asked))
    opening = Opening(who.name, idempotency_key, message, reply, quorum, deadline, tuple(member))
    session, reply, new = await here.in_thread(lambda: here.store.open_session(opening))
    if new:
        here.events.tell(Event("opened", session))
    return Response(reply, 201 if new else 200, {"Location": f"/v1/sessions/{session}"}, JSON)


def _answer(here: Service, asked: bytes) -> tuple[bytes, bytes]:
    """The request in its one form, and the reply. Raises Refused (invalid)."""
    settings = here.settings
    try:
        request = decode_message(asked, SessionRequest)
        reply = KnowledgeCloud(here.generator, request, here.space, here.warm_starting.warm_starts).reply()
    except KtlError as error:
        raise Refused("invalid", str(error)) from error
    for name, limit in (("image_size", settings.most_image_size), ("download_bytes", settings.most_download)):
        if getattr(request, name) > limit:
            raise Refused("invalid", f"{name} is {getattr(request, name):,}: this server grants at most {limit:,}")
    return encode_message(request), encode_message(reply)


@router.get("", summary="List sessions", response_model=SessionPage)
async def list_sessions(
    here: Here,
    who: AnyCaller,
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
    after: Annotated[str | None, Query(pattern=f"^{SESSION_ID}$")] = None,
) -> Response:
    """Those that the token opened or is a member of, newest first; an admin sees all."""
    states = await here.in_thread(lambda: here.store.sessions(who.sees, limit + 1, after))
    page = SessionPage(sessions=states[:limit], next=states[limit - 1].id if len(states) > limit else None)
    return Response(page.model_dump_json(), media_type=JSON)


@router.get("/{session}", summary="A session and its latest round", response_model=SessionState)
async def show_session(here: Here, who: AnyCaller, session: SessionId) -> Response:
    """404 for a session of others, as for one that never was."""
    state = await here.in_thread(lambda: here.store.session(session, who.sees))
    if state.round is not None:
        state.round = here.live(session, state.round)
    return Response(state.model_dump_json(), media_type=JSON)


@router.delete("/{session}", summary="Delete a session with all its data", status_code=204)
async def delete_session(here: Here, who: AnyCaller, session: SessionId) -> Response:
    """Its opener may, and an admin."""
    await here.in_thread(lambda: here.store.delete_session(session, who.sees))
    here.events.tell(Event("deleted", session))
    return Response(status_code=204)
