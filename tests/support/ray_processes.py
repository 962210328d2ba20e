"""`ktl cloud serve --engine ray`: which of its processes are replicas, and what these log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from .served import ServedCloud

START_SECONDS = 180.0  # Ray starts a dozen processes, here beside other tests


def served_on_ray(
    folder: Path,
    generator: Path | str,
    database: str,
    *options: object,
    environment: Mapping[str, str] = MappingProxyType({}),
    authority: Path | None = None,
) -> ServedCloud:
    """A server on a Ray of its own."""
    return ServedCloud(
        folder,
        generator,
        *("--engine", "ray", "--rate", 100_000, *options),
        database=database,
        environment=environment,
        authority=authority,
        start_seconds=START_SECONDS,
    )


def replicas(cloud: ServedCloud, deployment: str) -> list[psutil.Process]:
    """The processes of a deployment that are ready: until then they have another name."""
    ready = []
    for process in psutil.Process(cloud.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if " ".join(process.cmdline()).startswith(f"ray::ServeReplica:ktl:{deployment}"):
                ready.append(process)
    return ready


def logged(cloud: ServedCloud, message: str) -> Iterator[dict[str, Any]]:
    """The replicas' log records with this message: Ray puts a replica's name before each line."""
    for line in cloud.log.read_text(errors="replace").splitlines():
        try:
            record = json.loads(line[line.find("{") :])
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("message") == message:
            yield record
