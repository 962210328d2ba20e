"""Runs the service on Ray Serve: `ktl cloud serve --engine ray`."""

from __future__ import annotations

import logging
import math
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

# read when ray is imported; the niceness is of the processes that do the work: by default others go first
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_worker_niceness": "0"}
if "RAY_ADDRESS" not in os.environ:  # whoever reaches the own ports of a Ray without a token may run anything
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}

import ray
from ray import serve as ray_serve
from ray.serve.config import HTTPOptions

from ktl.cloud.service.database import Database
from ktl.cloud.service.logs import log_to_stderr
from ktl.cloud.service.server import KEEP_ALIVE, OnFirstTokens, listen
from ktl.cloud.service.settings import Settings
from ktl.cloud.service.tls import tls_context
from ktl.cloud.service.tokens import Tokens
from ktl.errors import KtlError
from ktl.ray.application import QUIET, application_of, cpus_needed

NAME = "ktl"  # of the application


def serve(settings: Settings, on_first_tokens: OnFirstTokens, on_ready: Callable[[str], None]) -> None:
    """Serves until a signal; calls `on_ready` with the URL before. Raises KtlError when it cannot start.

    On the cluster that `RAY_ADDRESS` names; if none, on one of this machine that ends with this process.
    """
    log_to_stderr(settings.log_level)
    tls_context(settings)  # refuses files that Ray's proxy could not use
    database = Database(settings.database)
    database.upgrade()
    Tokens(database).create_first(on_first_tokens)
    database.engine.dispose()
    with listen(settings) as free:  # refuses an address that Ray's proxy could not have
        settings = replace(settings, port=free.getsockname()[1])
    stopping = threading.Event()
    with running(settings):
        for number in (signal.SIGINT, signal.SIGTERM):  # now: Ray has set its own
            signal.signal(number, lambda number, frame: stopping.set())
        on_ready(settings.url)
        stopping.wait()


@contextmanager
def running(settings: Settings) -> Iterator[None]:
    """The application on Ray, ready for requests at the settings' URL. Raises KtlError when it does not start."""
    own = "RAY_ADDRESS" not in os.environ
    try:
        if own:
            ray.init(num_cpus=math.ceil(cpus_needed(settings)), include_dashboard=False, logging_level=logging.ERROR)
        else:
            ray.init(logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError) as error:
        where = "a Ray cannot be started here" if own else f"no Ray answers at RAY_ADDRESS {os.environ['RAY_ADDRESS']}"
        raise KtlError(f"{where}: {' '.join(str(error).split())}") from error
    try:
        if own and settings.generator_gpus > ray.cluster_resources().get("GPU", 0):
            raise KtlError(f"--generator-gpus {settings.generator_gpus:g}: this machine has not as many for Ray")
        ray_serve.start(
            http_options=HTTPOptions(
                host=settings.host,
                port=settings.port,
                keep_alive_timeout_s=KEEP_ALIVE,
                ssl_certfile=str(settings.tls_cert) if settings.tls_cert else None,
                ssl_keyfile=str(settings.tls_key) if settings.tls_key else None,
            ),
            logging_config=QUIET,
        )
        logging.getLogger("ray.serve").setLevel(logging.ERROR)  # it warns that it keeps these options
        try:
            ray_serve.run(application_of(settings), name=NAME)
        except RuntimeError as error:
            raise KtlError(f"Ray Serve could not start the application: {_why_not() or error}") from error
        yield
    finally:
        if own:
            ray_serve.shutdown()
        else:  # others may have applications there
            ray_serve.delete(NAME)
        ray.shutdown()


def _why_not() -> str:
    """What the replicas that did not start raised."""
    failed = [each for each in ray_serve.status().applications[NAME].deployments.values() if each.message]
    return "; ".join(each.message.strip().splitlines()[-1] for each in failed)  # before it: tracebacks
