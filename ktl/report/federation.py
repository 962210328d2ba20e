"""Federations as one page: methods beside one another, round by round and client by client, and what travelled."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ktl.errors import CheckpointError
from ktl.files import Row, read_rows
from ktl.intervals import mean_interval
from ktl.report.federation_figures import client_drawing, method_drawing, round_drawing
from ktl.report.html import render_template, setting_texts
from ktl.report.thumbnails import thumbnails
from ktl.run_folder import CONFIG, DRAWINGS, METRICS, is_federation, settings_table

DRAWN_ROWS = {"shots": "an image of its own", "own": "drawn from its statistics", "pooled": "drawn from those of all"}


@dataclass(frozen=True)
class Drawings:
    """What the cloud could draw of a client's class statistics and of the pooled ones, beside an image of the client.

    Each row has a picture's data: address for each class.
    """

    client: int
    classes: list[str]
    rows: dict[str, list[str]]


@dataclass(frozen=True)
class FederationRun:
    """One method with one seed; `settings` as `settings_table` gives them. rows: of metrics.jsonl, one per round."""

    method: str
    settings: dict[str, Any]
    rows: list[Row]
    drawings: Drawings | None

    @property
    def best(self) -> float:
        """The best round's mean test accuracy, 0..1."""
        return max(float(row["accuracy"]) for row in self.rows)


@dataclass(frozen=True)
class MethodSummary:
    """A method's runs, one per seed."""

    name: str
    runs: list[FederationRun]

    @property
    def best(self) -> tuple[float, float]:
        """Mean over seeds of the best round's accuracy, and half of its 95% interval (nan for one seed)."""
        return mean_interval([run.best for run in self.runs])

    def last(self, column: str) -> float:
        """A column of the last round, mean over seeds."""
        return statistics.fmean(run.rows[-1][column] for run in self.runs)

    def per_round(self, column: str) -> float:
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
        by_client: dict[int, list[float]] = {}
        for run in self.runs:
            for client, accuracy in run.rows[-1]["by_client"].items():
                by_client.setdefault(int(client), []).append(accuracy)
        return {client: statistics.fmean(values) for client, values in sorted(by_client.items())}

    @property
    def left_out(self) -> int:
        """Times that a client was left out of a round, over all seeds."""
        return sum(len(row["left_out"]) for run in self.runs for row in run.rows)


def federation_folders(run: Path) -> list[Path]:
    """The folders of single runs in what `ktl federate` made: `run` itself, or those in it; none for other runs."""
    return [folder for folder in (run, *sorted(run.glob("*/"))) if is_federation(folder)]


def federation_page(folders: Sequence[Path]) -> str:
    """The page of all runs in `folders`, grouped by method. Raises CheckpointError for a damaged one."""
    runs = [_read(folder) for folder in folders]
    names = dict.fromkeys(run.method for run in runs)
    methods = [MethodSummary(name, [run for run in runs if run.method == name]) for name in names]
    settings = [setting_texts(run.settings) for run in runs]
    shared = {
        name: text for name, text in settings[0].items() if all(other.get(name) == text for other in settings[1:])
    }
    return render_template(
        "federation.html.j2",
        methods=methods,
        common=runs[0].settings,
        best=method_drawing({method.name: method.best for method in methods}),
        rounds=round_drawing({method.name: method.by_round for method in methods}),
        clients=client_drawing({method.name: method.by_client for method in methods}),
        drawings=next((run.drawings for run in runs if run.drawings is not None), None),
        settings=shared,
        differing=[name for name in dict.fromkeys(name for texts in settings for name in texts) if name not in shared],
    )


def _read(folder: Path) -> FederationRun:
    settings, rows = settings_table(folder), read_rows(folder / METRICS)
    if not rows or "by_client" not in rows[-1]:
        raise CheckpointError(f"the metrics of {folder} are missing or damaged (no round of this ktl); run it anew")
    try:
        return FederationRun(str(settings["method"]["name"]), settings, rows, _drawings(folder / DRAWINGS))
    except (LookupError, TypeError) as error:
        raise CheckpointError(f"{folder / CONFIG} is damaged or from another ktl: it names no method") from error


def _drawings(file: Path) -> Drawings | None:
    """What the run kept for people; None where nothing was pooled, or by a cloud elsewhere."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="numpy") as opened:
            about = json.loads(opened.metadata()["ktl"])
            rows = {
                title: [thumbnails(picture[None]) for picture in opened.get_tensor(name)]
                for name, title in DRAWN_ROWS.items()
            }
        return Drawings(about["client"], about["classes"], rows)
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{file} is damaged ({error}); remove it, the report does without") from error
