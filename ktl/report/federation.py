"""Federations as one page: methods beside one another, round by round and client by client, and what travelled."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ktl.errors import CheckpointError
from ktl.federation.settings import FederationConfig
from ktl.intervals import mean_interval
from ktl.loop.folder import load_config
from ktl.report.federation_figures import client_drawing, method_drawing, round_drawing
from ktl.report.html import render_template
from ktl.settings import flat_settings


@dataclass(frozen=True)
class FederationRun:
    """One method with one seed. rows: of metrics.jsonl, one a round."""

    config: FederationConfig
    rows: list[dict[str, Any]]

    @property
    def best(self) -> float:
        """The best round's mean test accuracy, 0..1."""
        return max(float(row["accuracy"]) for row in self.rows)


@dataclass(frozen=True)
class MethodSummary:
    """A method's runs, one a seed."""

    name: str
    runs: list[FederationRun]

    @property
    def best(self) -> tuple[float, float]:
        """Mean over seeds of the best round's accuracy, and half of its 95% interval (nan for one seed)."""
        return mean_interval([run.best for run in self.runs])

    def last(self, column: str) -> float:
        """A column of the last round, mean over seeds."""
        return statistics.fmean(run.rows[-1][column] for run in self.runs)

    def a_round(self, column: str) -> float:
        """A column's mean over rounds and seeds."""
        return statistics.fmean(row[column] for run in self.runs for row in run.rows)

    @property
    def by_round(self) -> list[float]:
        """Accuracy after each round that all seeds have, mean over seeds."""
        return [
            statistics.fmean(row["accuracy"] for row in rows)
            for rows in zip(*(run.rows for run in self.runs), strict=False)
        ]

    @property
    def by_client(self) -> dict[int, float]:
        """Accuracy of each client with test images after the last round, mean over the seeds that have it."""
        found: dict[int, list[float]] = {}
        for run in self.runs:
            for client, accuracy in run.rows[-1]["by_client"].items():
                found.setdefault(int(client), []).append(accuracy)
        return {client: statistics.fmean(values) for client, values in sorted(found.items())}

    @property
    def left_out(self) -> int:
        """Times that a client was left out of a round, over all seeds."""
        return sum(len(row["left_out"]) for run in self.runs for row in run.rows)


def federation_folders(run: Path) -> list[Path]:
    """The folders of single runs in what `ktl federate` made: `run` itself, or those in it; none for other runs."""
    return [folder for folder in (run, *sorted(run.glob("*/"))) if _is_federation(folder)]


def federation_page(folders: Sequence[Path]) -> str:
    """The page of all runs in `folders`, grouped by method. Raises CheckpointError for a damaged one."""
    runs = [_read(folder) for folder in folders]
    names = dict.fromkeys(run.config.method for run in runs)
    methods = [MethodSummary(name, [run for run in runs if run.config.method == name]) for name in names]
    settings = {name: str(value) for name, value in flat_settings(runs[0].config).items()}
    differing = {
        name: value
        for name, value in settings.items()
        if any(str(flat_settings(run.config)[name]) != value for run in runs)
    }
    return render_template(
        "federation.html.j2",
        methods=methods,
        config=runs[0].config,
        best=method_drawing({method.name: method.best for method in methods}),
        rounds=round_drawing({method.name: method.by_round for method in methods}),
        clients=client_drawing({method.name: method.by_client for method in methods}),
        settings={name: value for name, value in settings.items() if name not in differing},
        differing=list(differing),
    )


def _is_federation(folder: Path) -> bool:
    try:
        return "partition" in json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return False


def _read(folder: Path) -> FederationRun:
    config = load_config(folder / "config.json", FederationConfig)
    try:
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        if not rows or "by_client" not in rows[-1]:
            raise ValueError("no round of this ktl is in it")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the metrics of {folder} are missing or damaged ({error}); run it anew") from error
    return FederationRun(config, rows)
