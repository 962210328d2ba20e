"""The service's application in a Ray Serve replica, whose requests come through Ray's proxy."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

import torch
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from ktl.cloud.service.app import create_app
from ktl.cloud.service.chosen import chosen_space
from ktl.cloud.service.database import Database
from ktl.cloud.service.logs import log_to_stderr
from ktl.cloud.service.server import SWITCH_SECONDS
from ktl.cloud.service.settings import Settings
from ktl.cloud.service.tracing import export_spans
from ktl.ray.remote import RemoteGenerator, RemoteSpace

GENERATOR = "generator"  # the deployment that draws


class Ingress(Starlette):
    """An application that is made when its replica starts: only then can the generator be asked what it is."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()  # Ray adds handlers to it that are never called
        self.settings = settings
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; the first call is of the application's lifespan."""
        if scope["type"] == "lifespan":
            self.app = await self._made()
        # what the plain service's own connections tell it: here they are the proxy's
        scope.setdefault("state", {}).update(gone=lambda: False, crowded=False)
        assert self.app is not None
        await self.app(scope, receive, send)

    async def _made(self) -> ASGIApp:
        replicas = serve.get_deployment_handle(GENERATOR)
        about = await replicas.about.remote()
        generator = RemoteGenerator(replicas, about)
        return await asyncio.to_thread(self._application, generator, about["space"])

    def _application(self, generator: RemoteGenerator, space: dict[str, object] | None) -> ASGIApp:
        settings = self.settings
        log_to_stderr(settings.log_level)
        export_spans()
        torch.set_num_threads(settings.threads)
        sys.setswitchinterval(SWITCH_SECONDS)
        database = Database(settings.database)
        database.upgrade()
        known = chosen_space(settings, generator) if space is None else RemoteSpace(generator, space)
        app = create_app(settings, database, generator, known)
        return cast(ASGIApp, ProxyHeadersMiddleware(cast(Any, app), settings.trusted_proxies))  # typed in another way


class IngressReplica:
    """Needs the generator's deployment, so that Ray starts it too."""

    def __init__(self, generator: DeploymentHandle[object]) -> None:
        self.generator = generator
