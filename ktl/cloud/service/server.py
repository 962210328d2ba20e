"""Runs the service: `ktl cloud serve`."""

from __future__ import annotations

import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
import uvicorn

from ktl.cloud.service.app import create_app
from ktl.cloud.service.batching import BatchingGenerator
from ktl.cloud.service.chosen import chosen_generator, chosen_space
from ktl.cloud.service.connections import ListeningSocket, bounded, connections_granted
from ktl.cloud.service.database import Database
from ktl.cloud.service.events import Event
from ktl.cloud.service.logs import log_to_stderr
from ktl.cloud.service.settings import Settings
from ktl.cloud.service.tls import reload_certificate, tls_context
from ktl.cloud.service.tokens import Tokens
from ktl.cloud.service.tracing import export_spans
from ktl.errors import KtlError

SWITCH_SECONDS = 0.0005  # a tenth of what is usual: a thread of short steps gets its turn beside one of long steps
KEEP_ALIVE = 75  # seconds that an idle connection is held
# probes of TCP on a silent connection: routers do not forget one that waits, and a client without power is found out
PROBES = {"TCP_KEEPIDLE": 45, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}  # seconds, seconds, how many

OnFirstTokens = Callable[[dict[str, str]], None]  # tokens by scope


class Server(uvicorn.Server):
    """Uvicorn on a socket that listens already."""

    def __init__(
        self, config: uvicorn.Config, listening: socket.socket, url: str, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(config)
        config.load()
        config.ssl = tls
        self.listening = listening
        self.url = url

    def run_until_stopped(self) -> None:
        """Serves until SIGINT or SIGTERM, or until `should_exit` is set by another thread."""
        self.run(sockets=[self.listening])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Long polls and streams of events get their answer, not a broken line."""
        self.config.app.state.service.events.tell(Event("stopping"))  # type: ignore[union-attr]
        await super().shutdown(sockets)


def serve(settings: Settings, on_first_tokens: OnFirstTokens, on_ready: Callable[[str], None]) -> None:
    """Serves until a signal; calls `on_ready` with the URL before. Raises KtlError when it cannot start."""
    log_to_stderr(settings.log_level)
    export_spans()
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # uvicorn stops at them, then raises them again: a stop is no failure
        signal.signal(number, lambda number, frame: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with server_on(settings, on_first_tokens) as server:
        if (context := server.config.ssl) is not None:
            signal.signal(signal.SIGHUP, lambda number, frame: reload_certificate(context, settings))
        on_ready(server.url)
        server.run_until_stopped()


@contextmanager
def server_on(settings: Settings, on_first_tokens: OnFirstTokens) -> Iterator[Server]:
    """A server on its upgraded database, which no other server uses meanwhile if it is SQLite's; not yet running.

    `on_first_tokens` gets a first token of each scope if the database had none. Raises KtlError.
    """
    context = tls_context(settings)
    database = Database(settings.database)
    with database.serving():
        database.upgrade()
        torch.set_num_threads(settings.threads)
        sys.setswitchinterval(SWITCH_SECONDS)
        generator = BatchingGenerator(chosen_generator(settings))
        app = create_app(settings, database, generator, chosen_space(settings, generator))
        listening = listen(settings)
        Tokens(database).create_first(on_first_tokens)
        config = uvicorn.Config(
            app,
            loop="asyncio",  # which accepts by our socket's method
            http=bounded(connections_granted(settings.connections)),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=max(round(settings.stop_seconds), 1),
            forwarded_allow_ips=settings.trusted_proxies,
            h11_max_incomplete_event_size=32 * 2**10,  # of request headers
        )
        url = replace(settings, port=listening.getsockname()[1]).url
        with listening:
            yield Server(config, listening, url, context)


def listen(settings: Settings) -> socket.socket:
    """On the address and port of the settings. Raises KtlError for one that cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # the protocol named: asyncio sets TCP_NODELAY on such sockets only, and without it an answer takes 40 ms more
    listening = ListeningSocket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted connections inherit it and what follows
    for option, value in PROBES.items():
        if hasattr(socket, option):  # not on every system
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise KtlError(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}); choose another with --port"
        ) from error
    return listening
