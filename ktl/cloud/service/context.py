"""What the routes share: the store, the worker and the caller of a request."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

import anyio
from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import ClientDisconnect

from ktl.cloud.service.answers import RoundState
from ktl.cloud.service.batching import ServedGenerator
from ktl.cloud.service.crowd import Presence
from ktl.cloud.service.database import Database
from ktl.cloud.service.events import Events
from ktl.cloud.service.metrics import Metrics
from ktl.cloud.service.page.logins import Logins
from ktl.cloud.service.page.round_images import Thumbnails
from ktl.cloud.service.quotas import RateLimit, address
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.relay import Relay
from ktl.cloud.service.settings import Settings
from ktl.cloud.service.steering import Steering
from ktl.cloud.service.store import Store
from ktl.cloud.service.tokens import Caller, Tokens
from ktl.cloud.service.warm_starting import WarmStarting
from ktl.cloud.service.worker import Worker
from ktl.protocol import MAX_ROUNDS, NAME, SESSION_ID
from ktl.spaces.base import SharedSpace

Result = TypeVar("Result")

UNKNOWN_PER_SECOND = 5.0  # requests of one address without a valid token


@dataclass
class Service:
    """The parts of a running server."""

    settings: Settings
    database: Database
    store: Store
    steering: Steering
    tokens: Tokens
    generator: ServedGenerator
    space: SharedSpace
    warm_starting: WarmStarting
    events: Events
    metrics: Metrics
    worker: Worker
    relay: Relay
    rate: RateLimit
    unknown: RateLimit
    logins: Logins
    thumbnails: Thumbnails
    database_threads: anyio.CapacityLimiter
    etf_threads: anyio.CapacityLimiter

    async def in_thread(self, function: Callable[[], Result]) -> Result:
        """Runs what waits for the database or computes, beside the event loop."""
        return await anyio.to_thread.run_sync(function, limiter=self.database_threads)

    def live(self, session: str, round_: RoundState) -> RoundState:
        """The round with its pairs counted while they are drawn."""
        if round_.state != "drawing":
            return round_
        drawn = self.worker.leases.drawn(session, round_.round)  # another server's are as of its last renewal
        return round_.model_copy(update={"pairs": max(drawn, round_.pairs)})


def service(request: Request) -> Service:
    """The server that a request came to."""
    here: Service = request.app.state.service
    return here


def presence_of(request: Request) -> Presence:
    """The request's place in the crowd."""
    presence: Presence = request.state.presence
    return presence


_bearer = HTTPBearer(auto_error=False, description="A token of `ktl cloud token create`.")


Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def holder(request: Request, credentials: Bearer) -> Caller:
    """Who sent the request, with a token of any scope. Raises Refused (unauthorised, rate-limited)."""
    here = service(request)
    who = None
    if credentials is not None:
        token, gone = credentials.credentials, request.state.gone
        if here.tokens.remembered(token) is None:
            here.unknown.take(address(request), cost=0)  # before the database is asked

        def look() -> Caller | None:
            if gone():  # while it waited for a thread: many may have
                raise ClientDisconnect
            return here.tokens.caller(token)

        who = await here.in_thread(look)
    return admitted(request, who)


def admitted(request: Request, who: Caller | None) -> Caller:
    """Counts the request for its token, or for its address. Raises Refused (unauthorised, rate-limited)."""
    here = service(request)
    if who is None:
        here.unknown.take(address(request))
        raise Refused(
            "unauthorised",
            "a valid token is needed: Authorization: Bearer TOKEN; `ktl cloud token create` makes one",
            {"WWW-Authenticate": "Bearer"},
        )
    request.state.token = who.token
    presence_of(request).known_as(who.name)
    here.rate.take(who.name)
    return who


async def caller(who: Annotated[Caller, Depends(holder)]) -> Caller:
    """The caller, if its token is an edge's or an admin's. Raises Refused (forbidden)."""
    if who.scope == "metrics":
        raise Refused("forbidden", "a token of scope metrics reads /metrics and nothing else")
    return who


async def admin(who: Annotated[Caller, Depends(holder)]) -> Caller:
    """The caller, if it is an admin. Raises Refused (forbidden)."""
    if who.scope != "admin":
        raise Refused("forbidden", "this route needs a token of scope admin")
    return who


Here = Annotated[Service, Depends(service)]
Holder = Annotated[Caller, Depends(holder)]
AnyCaller = Annotated[Caller, Depends(caller)]
AdminCaller = Annotated[Caller, Depends(admin)]
SessionId = Annotated[str, Path(alias="session", pattern=f"^{SESSION_ID}$", examples=["0f" * 16])]
RoundNumber = Annotated[int, Path(alias="round", ge=1, le=MAX_ROUNDS, examples=[1])]
EdgeName = Annotated[str, Path(alias="edge", pattern=f"^{NAME}$", examples=["cam-7"])]


def seconds_to_wait(wanted: float, max_seconds: float) -> float:
    """A wait within what the server grants, up to a half less: who began together does not ask again together."""
    return 0.0 if math.isnan(wanted) else min(max(wanted, 0.0), max_seconds) * random.uniform(0.5, 1.0)
