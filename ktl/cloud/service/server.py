"""Runs the service: `ktl cloud serve`."""

from __future__ import annotations

import socket
from collections.abc import Callable

import torch
import uvicorn

from ktl.cloud.service.app import create_app
from ktl.cloud.service.database import Database
from ktl.cloud.service.events import Event
from ktl.cloud.service.logs import log_to_stderr
from ktl.cloud.service.settings import Settings
from ktl.cloud.service.tokens import Tokens
from ktl.errors import KtlError
from ktl.generators import load_generator

KEEP_ALIVE = 75  # seconds that an idle connection is held


class Server(uvicorn.Server):
    """Uvicorn that first ends what waits: long polls and streams of events get their answer, not a broken line."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """On SIGINT or SIGTERM."""
        app = self.config.app
        app.state.service.events.tell(Event("stopping"))  # type: ignore[union-attr]
        await super().shutdown(sockets)


def serve(
    settings: Settings, on_ready: Callable[[str], None], on_first_tokens: Callable[[dict[str, str]], None]
) -> None:
    """Serves until a signal. Calls `on_first_tokens` with new tokens by scope if the database had none, then
    `on_ready` with the URL when requests are taken. Raises KtlError when it cannot start.
    """
    log_to_stderr(settings.log_level)
    database = Database(settings.database)
    with database.one_server():
        database.upgrade()
        torch.set_num_threads(settings.threads)
        app = create_app(settings, database, load_generator(settings.generator))
        listening = _listen(settings)
        port = listening.getsockname()[1]
        tokens = Tokens(database)
        if not tokens.all():
            on_first_tokens({"admin": tokens.create("admin", "admin"), "edge": tokens.create("edge", "edge")})
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=int(settings.stop_seconds) or 1,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            h11_max_incomplete_event_size=32 * 2**10,  # of request headers
        )
        on_ready(settings.model_copy(update={"port": port}).url)
        Server(config).run(sockets=[listening])


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # the protocol named: asyncio sets TCP_NODELAY on such sockets only, and without it an answer takes 40 ms more
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise KtlError(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}); choose another with --port"
        ) from error
    return listening
