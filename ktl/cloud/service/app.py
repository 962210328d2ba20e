"""The parts of a server put together."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ktl.cloud.service.accounts import Quotas
from ktl.cloud.service.answers import ProblemDetail
from ktl.cloud.service.batching import BatchingGenerator, ServedGenerator
from ktl.cloud.service.context import UNKNOWN_PER_SECOND, Service
from ktl.cloud.service.crowd import Crowd
from ktl.cloud.service.database import AWAY, READY_SECONDS, THREADS, Database
from ktl.cloud.service.events import Events
from ktl.cloud.service.garbage import seldom_searched
from ktl.cloud.service.head import HeadAsGet
from ktl.cloud.service.live_sessions import LiveSessions
from ktl.cloud.service.memory import MemoryBudget
from ktl.cloud.service.metrics import Metrics
from ktl.cloud.service.middleware import Middleware
from ktl.cloud.service.page import routes as page
from ktl.cloud.service.page.logins import Logins
from ktl.cloud.service.page.round_images import Thumbnails
from ktl.cloud.service.quotas import RateLimit
from ktl.cloud.service.refusals import MEDIA_TYPE, Refused, busy, problem
from ktl.cloud.service.relay import Relay
from ktl.cloud.service.routes import administration, operations, pooling, rounds, sessions, steering, warm_starts
from ktl.cloud.service.settings import Settings
from ktl.cloud.service.steering import Steering
from ktl.cloud.service.store import Store
from ktl.cloud.service.tokens import Tokens
from ktl.cloud.service.warm_starting import WarmStarting
from ktl.cloud.service.worker import Worker
from ktl.spaces.base import SharedSpace
from ktl.warm_start.settings import WarmStartConfig
from ktl.warm_start.warm_starts import WarmStarts

PROBLEM = {"description": "Refused.", "content": {MEDIA_TYPE: {"schema": ProblemDetail.model_json_schema()}}}
log = logging.getLogger("ktl.cloud")

USES_EVERY = 60.0  # seconds
KINDS = {404: "not-found", 405: "method-not-allowed"}


def create_app(settings: Settings, database: Database, generator: ServedGenerator, space: SharedSpace) -> FastAPI:
    """The application; the database's schema must be this release's. Its worker runs while the application does."""
    crowd = Crowd(settings.token_waits)
    here = _service(settings, database, generator, space, crowd)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        here.relay.start()
        await anyio.to_thread.run_sync(here.worker.start)
        here.warm_starting.start()
        with seldom_searched():
            async with anyio.create_task_group() as beside:
                beside.start_soon(_write_uses, here)
                yield
                beside.cancel_scope.cancel()
        await anyio.to_thread.run_sync(here.warm_starting.stop)
        await anyio.to_thread.run_sync(here.worker.stop)
        await anyio.to_thread.run_sync(here.relay.stop)  # last: it tells of rounds that were put back

    app = FastAPI(
        title="ktl cloud",
        version=version("ktl"),
        summary="Class prototypes in, generated image-vector pairs out.",
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts of third parties
        redoc_url=None,
        responses={"4XX": PROBLEM, 503: PROBLEM},
    )
    app.state.service = here
    app.add_middleware(HeadAsGet)
    app.add_middleware(Middleware, metrics=here.metrics, crowd=crowd, https=settings.tls_cert is not None)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _from_framework)
    for away in AWAY:
        app.add_exception_handler(away, _database_away)
    app.add_exception_handler(page.NotLoggedIn, page.to_login)
    for module in (operations, sessions, steering, rounds, pooling, warm_starts, administration, page):
        app.include_router(module.router)
    return app


async def _write_uses(here: Service) -> None:
    """Brings the tokens' times of last use into the database, each minute and at the end."""
    try:
        while True:
            await anyio.sleep(USES_EVERY)
            await _written(here)
    finally:
        await _written(here)


async def _written(here: Service) -> None:
    try:
        with anyio.move_on_after(READY_SECONDS, shield=True):  # a server that stops waits no longer
            await anyio.to_thread.run_sync(here.tokens.write_uses, abandon_on_cancel=True)
    except SQLAlchemyError:  # nothing depends on it
        log.warning("the tokens' times of last use could not be written")


def _service(
    settings: Settings, database: Database, generator: ServedGenerator, space: SharedSpace, crowd: Crowd
) -> Service:
    store = Store(database, quotas_of(settings))
    events, metrics, tokens = Events(), Metrics(), Tokens(database)
    warm_start = WarmStartConfig(images=settings.warm_start_images)
    offered = WarmStarts(generator, space, warm_start, most_bytes=settings.most_warm_start)
    worker = Worker(
        store,
        LiveSessions(store, generator, space, offered),
        generator,
        events,
        metrics,
        MemoryBudget(settings.most_memory),
        crowd.served,
        jobs=settings.jobs,
        keep_seconds=settings.keep,
        most_seconds=settings.most_seconds,
    )
    _watch(metrics, store, generator)
    return Service(
        settings=settings,
        database=database,
        store=store,
        steering=Steering(store),
        tokens=tokens,
        generator=generator,
        space=space,
        warm_starting=WarmStarting(offered, events),
        events=events,
        metrics=metrics,
        worker=worker,
        relay=Relay(database, events, worker.leases.server),
        rate=RateLimit(settings.rate),
        unknown=RateLimit(UNKNOWN_PER_SECOND),
        logins=Logins(tokens),
        thumbnails=Thumbnails(store),
        database_threads=anyio.CapacityLimiter(THREADS),
        etf_threads=anyio.CapacityLimiter(1),  # one of 1000 classes takes a core 0.3 s
    )


def _watch(metrics: Metrics, store: Store, generator: ServedGenerator) -> None:
    promised = "Bytes of all sessions, with what is promised to their rounds."
    metrics.watch("queued_rounds", "Rounds that wait or are being drawn.", store.queued, in_database=True)
    metrics.watch("stored_bytes", promised, store.stored_bytes, in_database=True)
    if isinstance(generator, BatchingGenerator):
        metrics.watch("generator_batches", "Batches drawn since the start.", lambda: generator.batches)


def quotas_of(settings: Settings) -> Quotas:
    """What the settings grant."""
    return Quotas(
        stored=settings.most_stored,
        queued=settings.queue,
        session_pairs=settings.most_session_pairs,
        each_sessions=settings.token_sessions,
        each_stored=settings.token_stored,
        each_rounds=settings.token_rounds,
        each_pairs=settings.token_pairs,
    )


def _answer(request: Request, refused: Refused) -> Response:
    service: Service = request.app.state.service
    service.metrics.errors.labels(refused.kind).inc()
    return problem(refused, request.state.request_id)


async def _refused(request: Request, error: Any) -> Response:
    return _answer(request, error)


async def _invalid(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = " ".join(map(str, first["loc"]))
    return _answer(request, Refused("invalid", f"{where} is {str(first['input'])[:100]!r}: {first['msg']}"))


async def _database_away(request: Request, error: Any) -> Response:
    log.error("the database failed", exc_info=error, extra={"request_id": request.state.request_id})
    return _answer(request, busy("the database does not answer, or its disk is full; nothing was kept; try again", 1))


async def _from_framework(request: Request, error: Any) -> Response:
    kind = KINDS.get(error.status_code, "invalid")
    detail = f"{request.method} {request.url.path[:200]}: {error.detail}; docs/reference/protocol.md has the routes"
    return _answer(request, Refused(kind, detail, dict(error.headers or {})))
