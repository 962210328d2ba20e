"""Flower's ServerApp of a deployment: the loop with its clients on devices. `app` is what `flwr run` starts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from ktl.errors import UsageError
from ktl.federation.processes import WarmStarts
from ktl.federation.run import federate_elsewhere, is_finished
from ktl.federation.settings import FederationConfig
from ktl.files import Row
from ktl.flower.post import Post
from ktl.flower.roster import Roster
from ktl.flower.secure_fleet import fleet_of
from ktl.loop.clients import Clients
from ktl.methods.base import Problem
from ktl.settings import value_of, with_values

SPARE = 60.0  # seconds that an answer may take beside a deadline's: a process starts, bytes travel

log = logging.getLogger("flwr")
app = ServerApp()


@dataclass(frozen=True)
class Served:
    """What a run's configuration says: the federation's settings, its folder, and how long nodes are waited for."""

    config: FederationConfig
    out: Path
    wait_seconds: float
    answer_seconds: float


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs the federation, or goes on with the one in its folder."""
    served = served_by(context.run_config)
    config, out = served.config, served.out
    if is_finished(out, config):
        log.info("the run in %s has ended: name another folder by --run-config 'out=...'", out)
        return
    post = Post(grid, served.answer_seconds)
    roster = Roster(post, config)
    problem = roster.assemble(out, served.wait_seconds)

    @contextmanager
    def engine(
        config: FederationConfig, problem: Problem, active: Sequence[int], warm_starts: WarmStarts
    ) -> Iterator[Clients]:
        run = roster.begin(warm_starts)
        yield fleet_of(config, problem, post, roster.nodes, run, active)

    result = federate_elsewhere(config, out, problem, engine, on_round=_log_round)
    log.info("the run in %s has ended; best mean accuracy %.2f%%", out, 100 * result.best)


def _log_round(row: Row, accuracies: dict[int, float]) -> None:
    log.info("round %d: accuracy %.2f%%, %.1f s", row["round"], 100 * row["accuracy"], row["seconds"])
    for client, reason in row["left_out"].items():
        log.info("round %d: client %s left out: %s", row["round"], client, reason)


def served_by(run_config: Mapping[str, Any]) -> Served:
    """Reads a run's configuration: settings by their dotted names, and `settings` for further ones.

    Raises UsageError for a name that is none or a value that does not fit.
    """
    values = {name: value_of(value) if isinstance(value, str) else value for name, value in run_config.items()}
    out, wait, answer = (values.pop(name, None) for name in ("out", "wait_seconds", "answer_seconds"))
    if not isinstance(out, str) or not out:
        raise UsageError("the run has no folder: give --run-config 'out=\"FOLDER\"'")
    for assignment in str(values.pop("settings", "") or "").split():
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"settings has {assignment!r}: give name=value, with spaces between")
        values[name] = value_of(text)
    config = with_values(FederationConfig(), values)
    seconds = float(answer or 600.0) if config.deadline is None else config.deadline + SPARE
    return Served(config, Path(out).expanduser().absolute(), float(wait or 600.0), seconds)
