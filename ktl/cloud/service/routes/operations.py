"""Who the service is, whether it is well, and what it counts."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from ktl.cloud.service.answers import GeneratorInfo, Limits, ServiceInfo, TokenInfo
from ktl.cloud.service.context import Bearer, Here, Holder, admitted, holder
from ktl.cloud.service.database import READY_SECONDS, Database
from ktl.cloud.service.media import SENDS_JSON
from ktl.cloud.service.refusals import Refused, busy
from ktl.protocol import JSON
from ktl.wire import VERSION

router = APIRouter(tags=["operations"])


@router.get("/v1", summary="Who am I, and who are you", response_model=ServiceInfo, dependencies=[SENDS_JSON])
async def about(here: Here, who: Holder) -> Response:
    """The token's name and scope, the generator, and what this server grants at most."""
    settings = here.settings
    fields = {name: getattr(here.generator, name) for name in GeneratorInfo.model_fields}
    info = ServiceInfo(
        release=version("ktl"),
        protocols=[VERSION],
        token=TokenInfo(name=who.name, scope=who.scope),
        generator=GeneratorInfo(**fields),
        limits=Limits(
            image_size=settings.most_image_size,
            download_bytes=settings.most_download,
            quorum=settings.most_quorum,
            wait_seconds=settings.most_wait,
        ),
    )
    return Response(info.model_dump_json(), media_type=JSON)


@router.get("/healthz", summary="The process answers", include_in_schema=True)
async def healthz() -> dict[str, str]:
    """For a supervisor: restart the server if this fails."""
    return {"status": "ok"}


@router.get("/readyz", summary="Requests can be served", responses={503: {"description": "Not now."}})
async def readyz(here: Here) -> dict[str, Any]:
    """For a load balancer: database, generator and worker are well."""
    well = await _answers(here.database) and not here.worker.leases.waits_for_database()
    checks = {"database": well, "worker": here.worker.alive() and here.warm_starting.alive()}
    if not all(checks.values()):
        raise busy(f"not ready: {', '.join(name for name, well in checks.items() if not well)}", retry_after=5)
    return {"status": "ok", "checks": checks}


async def _answers(database: Database) -> bool:
    """Whether it does so soon, asked beside the threads of requests, which may all wait for it."""
    with anyio.move_on_after(READY_SECONDS):
        return await anyio.to_thread.run_sync(database.ready, abandon_on_cancel=True)
    return False


async def _reader(request: Request, here: Here, credentials: Bearer) -> bool:
    """Whether the database answers. Where it does not, a token may read the metrics that was right before.

    Raises Refused (unauthorised, rate-limited, forbidden).
    """
    known = None if credentials is None else here.tokens.remembered(credentials.credentials)
    up = known is None or await _answers(here.database)
    who = await holder(request, credentials) if up else admitted(request, known)
    if who.scope == "edge":
        raise Refused("forbidden", "this route needs a token of scope metrics or admin")
    return up


@router.get("/metrics", summary="Prometheus metrics")
async def metrics(here: Here, database_up: Annotated[bool, Depends(_reader)]) -> Response:
    """Rounds, queue, seconds of alignment and generation, bytes, errors, and the process's own."""
    text = await here.in_thread(lambda: here.metrics.text(database_up=database_up))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
