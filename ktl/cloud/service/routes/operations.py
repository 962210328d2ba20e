"""Who the service is, whether it is well, and what it counts."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import anyio
from fastapi import APIRouter
from starlette.responses import Response

from ktl.cloud.service.answers import GeneratorInfo, Limits, ServiceInfo, TokenInfo
from ktl.cloud.service.context import AdminCaller, AnyCaller, Here
from ktl.cloud.service.database import READY_SECONDS, Database
from ktl.cloud.service.refusals import busy
from ktl.protocol import JSON
from ktl.wire import VERSION

router = APIRouter(tags=["operations"])


@router.get("/v1", summary="Who am I, and who are you", response_model=ServiceInfo)
async def about(here: Here, who: AnyCaller) -> Response:
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
            wait_seconds=60.0,
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


@router.get("/metrics", summary="Prometheus metrics")
async def metrics(here: Here, who: AdminCaller) -> Response:
    """Rounds, queue, seconds of alignment and generation, bytes, errors."""
    text = await here.in_thread(here.metrics.text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
