"""What runs the clients of `ktl federate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ktl.errors import UsageError
from ktl.federation.settings import FederationConfig

from .connection import session_ending_with
from .console import check_choice

if TYPE_CHECKING:
    from threading import Event

    from ktl.edge.network.transport import Access
    from ktl.federation.run import FederationResult

    Start = Callable[..., FederationResult]  # takes what `ktl.federation.run.federate` takes

PROCESSES, FLOWER = ENGINES = ["processes", "flower"]

EngineName = Annotated[str, typer.Option("--engine", help=f"{' | '.join(ENGINES)}: Flower's simulation, on Ray.")]


def run_by(
    engine: str,
    config: FederationConfig,
    place: Path,
    elsewhere: Access | None,
    workers: int | None,
    resume: bool,
    show: Callable[[dict[str, Any], dict[int, float]], None],
    stop: Event,
) -> FederationResult:
    """One method with one seed; a cloud elsewhere forgets its session in the end."""
    start = _engine_named(engine)
    options: dict[str, Any] = {"workers": workers, "resume": resume, "on_round": show, "should_stop": stop.is_set}
    if elsewhere is None:
        return start(config, place, **options)
    from ktl.edge.network.http import HttpCloud
    from ktl.federation.problem import client_count
    from ktl.federation.run import is_finished

    cloud = HttpCloud(elsewhere, place, client_count(config))
    with session_ending_with(cloud, is_finished(place, config)):
        return start(config, place, connection=cloud, **options)


def _engine_named(name: str) -> Start:
    """Raises UsageError for a name that is none, or an engine that is not installed."""
    if name == "ray":
        raise UsageError("unknown engine 'ray': Flower's simulation runs on Ray, so give --engine flower")
    check_choice("engine", name, ENGINES)
    if name == PROCESSES:
        from ktl.federation.run import federate

        return federate
    try:
        from ktl.flower.simulation import simulate
    except ImportError as error:
        raise UsageError(f"--engine {name} needs Flower: pip install 'ktl[flower]'") from error
    return simulate
