"""Changing an open session: members, quorum, cancelling a round."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from ktl.cloud.service.answers import RoundState, SessionState
from ktl.cloud.service.context import AnyCaller, Here, RoundNumber, SessionId
from ktl.cloud.service.events import Event
from ktl.cloud.service.media import SENDS_JSON
from ktl.cloud.service.refusals import Refused
from ktl.protocol import JSON, NAME

router = APIRouter(prefix="/v1/sessions/{session}", tags=["sessions"])

MemberName = Annotated[str, Path(alias="name", pattern=f"^{NAME}$", examples=["cam-8"])]


@router.put("/members/{name}", summary="Let a token's name take part", status_code=204)
async def add_member(here: Here, who: AnyCaller, session: SessionId, name: MemberName) -> Response:
    """A token of this name must be there. The session's opener may, and an admin."""
    await here.in_thread(lambda: here.steering.add_member(session, name, who))
    return Response(status_code=204)


@router.delete("/members/{name}", summary="Take a member out", status_code=204)
async def remove_member(here: Here, who: AnyCaller, session: SessionId, name: MemberName) -> Response:
    """What it has uploaded stays."""
    await here.in_thread(lambda: here.steering.remove_member(session, name, who))
    return Response(status_code=204)


@router.put(
    "/quorum/{quorum}",
    summary="Change how many edges a round waits for",
    response_model=SessionState,
    dependencies=[SENDS_JSON],
)
async def set_quorum(
    here: Here, who: AnyCaller, session: SessionId, quorum: Annotated[int, Path(ge=1, examples=[3])]
) -> Response:
    """From the round that collects now; if as many edges are in, it is queued."""
    if quorum > here.settings.most_quorum:
        raise Refused("invalid", f"quorum is {quorum}: this server grants at most {here.settings.most_quorum}")
    state = await here.in_thread(lambda: here.steering.set_quorum(session, quorum, who))
    if state.round is not None:
        here.events.tell(Event("queued" if state.round.state == "queued" else "round", session, state.round.round))
    return Response(state.model_dump_json(), media_type=JSON)


@router.post("/rounds/{round}/cancel", summary="Give a round up", response_model=RoundState, dependencies=[SENDS_JSON])
async def cancel(here: Here, who: AnyCaller, session: SessionId, round_: RoundNumber) -> Response:
    """A round that is not done fails, and the session ends with it."""
    state = await here.in_thread(lambda: here.steering.cancel(session, round_, who))
    here.metrics.rounds.labels("failed").inc()
    here.events.tell(Event("ended", session, round_))
    return Response(state.model_dump_json(), media_type=JSON)
