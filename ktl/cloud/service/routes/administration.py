"""For admins: tokens over the network, and what admins did."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from ktl.cloud.service.answers import Act, AuditPage, NewTokens, TokenPage, TokenState
from ktl.cloud.service.audit import entries
from ktl.cloud.service.context import AdminCaller, Here
from ktl.cloud.service.media import SENDS_JSON
from ktl.cloud.service.models import Scope, Token
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.states import utc
from ktl.cloud.service.tokens import MAX_SECONDS
from ktl.errors import UsageError
from ktl.protocol import JSON, NAME

router = APIRouter(prefix="/v1", tags=["administration"])

TokenId = Annotated[str, Path(alias="token", pattern="^[0-9a-f]{12}$", examples=["80d9e75b32d3"])]


@router.post("/tokens", summary="Make tokens", status_code=201, response_model=NewTokens, dependencies=[SENDS_JSON])
async def create_tokens(
    here: Here,
    who: AdminCaller,
    name: Annotated[list[Annotated[str, Query(pattern=f"^{NAME}$")]], Query(min_length=1, max_length=100)],
    scope: Scope = "edge",
    expires: Annotated[float | None, Query(gt=0, le=MAX_SECONDS, description="Seconds that they live.")] = None,
) -> Response:
    """All of them, or none; told this once."""
    try:
        tokens = await here.in_thread(lambda: here.tokens.create_all(name, scope, expires, by=who.name))
    except UsageError as error:
        raise Refused("invalid", str(error)) from error
    return Response(NewTokens(tokens=tokens).model_dump_json(), 201, media_type=JSON)


@router.get("/tokens", summary="List tokens", response_model=TokenPage, dependencies=[SENDS_JSON])
async def list_tokens(
    here: Here,
    who: AdminCaller,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    after: Annotated[str | None, Query(pattern="^[0-9a-f]{12}$")] = None,
) -> Response:
    """In the order of their ids; those that have ended, too."""
    found = await here.in_thread(lambda: here.tokens.page(limit + 1, after))
    page = TokenPage(
        tokens=[_state(row) for row in found[:limit]], next=found[limit - 1].id if len(found) > limit else None
    )
    return Response(page.model_dump_json(), media_type=JSON)


@router.delete("/tokens/{token}", summary="Revoke a token", status_code=204)
async def revoke_token(here: Here, who: AdminCaller, token: TokenId) -> Response:
    """It is refused from its next request on."""
    try:
        await here.in_thread(lambda: here.tokens.revoke(token, by=who.name))
    except UsageError as error:
        raise Refused("not-found", str(error)) from error
    return Response(status_code=204)


@router.post(
    "/tokens/{token}/rotate",
    summary="Exchange a token",
    status_code=201,
    response_model=NewTokens,
    dependencies=[SENDS_JSON],
)
async def rotate_token(
    here: Here,
    who: AdminCaller,
    token: TokenId,
    grace: Annotated[float, Query(ge=0, le=MAX_SECONDS, description="Seconds that the old one still lives.")] = 86_400,
) -> Response:
    """A new one of the same name, scope and length of life."""
    try:
        name, secret = await here.in_thread(lambda: here.tokens.rotate(token, grace, by=who.name))
    except UsageError as error:
        raise Refused("not-found", str(error)) from error
    return Response(NewTokens(tokens={name: secret}).model_dump_json(), 201, media_type=JSON)


@router.get("/audit", summary="What admins did", response_model=AuditPage, dependencies=[SENDS_JSON])
async def list_audit(
    here: Here,
    who: AdminCaller,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> Response:
    """Newest first."""
    found = await here.in_thread(lambda: entries(here.database, limit + 1, before))
    told = [
        Act(id=each.id, at=utc(each.at), actor=each.actor, action=each.action, target=each.target)
        for each in found[:limit]
    ]
    page = AuditPage(acts=told, next=told[-1].id if len(found) > limit else None)
    return Response(page.model_dump_json(), media_type=JSON)


def _state(row: Token) -> TokenState:
    return TokenState(
        id=row.id,
        name=row.name,
        scope=row.scope,  # type: ignore[arg-type]
        created_at=utc(row.created_at),
        used_at=None if row.used_at is None else utc(row.used_at),
        expires_at=None if row.expires_at is None else utc(row.expires_at),
        revoked_at=None if row.revoked_at is None else utc(row.revoked_at),
    )
