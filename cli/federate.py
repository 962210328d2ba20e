"""`ktl federate`: N clients and a cloud, method beside method."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from ktl.alignment import ALIGNMENTS
from ktl.data import data_name
from ktl.errors import UsageError
from ktl.federation.settings import FederationConfig, federated_transfer
from ktl.formatting import in_bytes, in_counts, in_percent
from ktl.learning.settings import RECIPES
from ktl.loop.settings import CloudConfig
from ktl.methods import METHODS
from ktl.models import GROUPS
from ktl.objectives import TRANSFERS
from ktl.settings import describe, with_values
from ktl.spaces import SPACES

from .connection import CaFile, Insecure, TokenFile, access
from .console import check_choice, check_device, errors, output, stop_on_signal, unused_folder
from .engines import PROCESSES, EngineName, run_by
from .progress import Forecast
from .report import write_report_apart
from .settings import Assignments, Option, assigned, with_options

if TYPE_CHECKING:
    from threading import Event

    from ktl.edge.network.transport import Access
    from ktl.federation.run import FederationResult

ROUNDS = 5
STEPS = 200  # per client, over all rounds
PATIENCE = 120.0  # seconds that a cloud which fails is tried again

Methods = Annotated[str, typer.Option(help="With commas between, or all: " + " | ".join(METHODS.builtin()))]
Recipe = Annotated[str, typer.Option(help=" | ".join(RECIPES) + ": published is the papers' own.")]
Transfer = Annotated[str | None, typer.Option(help=" | ".join(TRANSFERS.builtin()), show_default="by recipe")]
Seeds = Annotated[int, typer.Option(min=1, help="Runs of each method, with seeds from --seed on.")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Client processes; 0 trains in this one.", show_default="one per core")
]
Out = Annotated[Path | None, typer.Option(help="Folder for the runs.", show_default="runs/federation-...")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the runs in --out.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]

OPTIONS = {
    "data": Option("source", help="A data set's name, a folder, an .npz file, or a saved partition's folder."),
    "image_size": Option("image_size", default="the data's own"),
    "skip_damaged": Option("skip_damaged"),
    "fit": Option("fit"),
    "clients": Option("partition.clients"),
    "partition": Option("partition.kind"),
    "beta": Option("partition.beta"),
    "classes_per_client": Option("partition.classes_per_client"),
    "shots": Option("partition.shots"),
    "models": Option(
        "models", help=f"A group ({', '.join(GROUPS)}), or names with commas between; module:Class is yours."
    ),
    "classifier": Option("classifier"),
    "rounds": Option("rounds", default=str(ROUNDS)),
    "steps": Option("training.steps", default=str(STEPS)),
    "join_ratio": Option("join_ratio"),
    "drop_ratio": Option("drop_ratio"),
    "deadline": Option("deadline", default="none"),
    "patience": Option("patience", default="never"),
    "generator": Option("cloud.generator", help="'builtin', 'latent-flow', a generator file, or pool:FOLDER_OR_TAR."),
    "alignment": Option("cloud.alignment", help=" | ".join(ALIGNMENTS.builtin())),
    "cloud": Option("cloud.url", help="Address of a cloud elsewhere.", default="a cloud in this process"),
    "space": Option("cloud.space", help=" | ".join(SPACES.builtin()), default="by the latents' size"),
    "warm_start": Option("warm_start"),
    "secure_aggregation": Option("secure_aggregation"),
    "seed": Option("seed"),
    "device": Option("device", help="cpu | cuda"),
}


@with_options(FederationConfig, OPTIONS)
def federate(
    values: dict[str, Any],
    method: Methods = "local,fedktl",
    recipe: Recipe = "tuned",
    transfer: Transfer = None,
    assignments: Assignments = None,
    seeds: Seeds = 1,
    workers: Workers = None,
    engine: EngineName = PROCESSES,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    insecure: Insecure = False,
    out: Out = None,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Train many clients with unlike models, and compare methods: by default each client alone, and FedKTL."""
    names = METHODS.names() if method == "all" else [METHODS.check(name.strip()) for name in method.split(",")]
    if resume and out is None:
        raise UsageError("--resume needs the folder of the runs: give --out")
    base, values = _base(recipe, transfer), values | assigned(assignments)
    own = {name: [f"method.{field.name}" for field in describe(METHODS.settings_of(name))] for name in names}
    _check_known(values, own)
    configs = {name: _config(base, name, values, own[name]) for name in names}
    first = next(iter(configs.values()))
    elsewhere = _elsewhere(first, values, token_file, ca_file, insecure)
    folder = out or unused_folder(f"federation-{data_name(first.source)}-{first.partition.clients}-seed{first.seed}")
    with stop_on_signal() as stop:
        results = {
            name: _runs(config, name, folder, engine, elsewhere, seeds, workers, resume, stop)
            for name, config in configs.items()
        }
    report = write_report_apart(folder)
    if as_json:
        print(json.dumps({"runs": str(folder)} | {name: _summary(runs) for name, runs in results.items()}))
    else:
        _show(results, folder, report)


def _show(results: dict[str, list[FederationResult]], folder: Path, report: Path | None) -> None:
    output.print(_table(results))
    for name, (run, *others) in results.items():
        tested = run.rows[-1].get("tested", 0)  # none in a run of an earlier ktl
        if tested and not others:  # of several seeds the table has the spread
            counts = in_counts(round(run.rows[-1]["accuracy"] * tested), tested)
            output.print(f"{name}, last round, over all clients: {counts}")
    output.print(f"runs: {folder}")
    if report is not None:
        output.print(f"report: {report}")
    output.print("next: ktl federate --method all --seeds 3, or ktl report with the folders of several federations")


def _elsewhere(
    config: FederationConfig, given: dict[str, Any], token_file: Path | None, ca_file: Path | None, insecure: bool
) -> Access | None:
    """How to reach the cloud, if it is not in this process. Raises UsageError for what cannot be done with it."""
    if config.cloud.session is not None:
        raise UsageError("cloud.session is for `ktl edge train`: a federation opens a session of its own")
    url = config.cloud.url
    if url is None:
        return None
    if "cloud.generator" in given:
        raise UsageError("--generator and --cloud exclude each other: a cloud elsewhere has a generator of its own")
    if config.join_ratio < 1 or config.drop_ratio > 0 or config.deadline is not None:
        raise UsageError(
            "with --cloud every client takes part in every round: leave --join-ratio, --drop-ratio and --deadline out"
        )
    return access(url, token_file, ca_file, PATIENCE, insecure)


def _base(recipe: str, transfer: str | None) -> FederationConfig:
    """What a recipe stands for, before other options: the published one is the papers' own throughout."""
    check_choice("recipe", recipe, list(RECIPES))
    if recipe == "published":
        return FederationConfig(
            rounds=ROUNDS,
            training=RECIPES[recipe],
            transfer=transfer or "mse",
            warm_start="edge",
            cloud=CloudConfig(alignment="published", pairs_per_class=1),
        )
    training = replace(RECIPES[recipe], steps=STEPS)
    return FederationConfig(rounds=ROUNDS, training=training, transfer=federated_transfer(transfer or "image-vector"))


def _check_known(values: dict[str, Any], own: dict[str, list[str]]) -> None:
    """Raises UsageError for a setting of a method that none of the methods has; `own`: those that each one has."""
    known = sorted({path for paths in own.values() for path in paths})
    for path in values:
        if path.startswith("method.") and path not in known:
            raise UsageError(f"there is no setting {path} of {', '.join(own)}: choose of {', '.join(known) or 'none'}")


def _config(base: FederationConfig, method: str, values: dict[str, Any], own: list[str]) -> FederationConfig:
    """One method's federation. Of the settings of methods it takes its `own`; the others are those of other methods."""
    of_method = {path: value for path, value in values.items() if path in own}
    others = {path: value for path, value in values.items() if not path.startswith("method.")}
    config = with_values(replace(base, method=method), others)
    check_device(config.device)
    return with_values(config, of_method)


def _runs(
    config: FederationConfig,
    name: str,
    folder: Path,
    engine: str,
    elsewhere: Access | None,
    seeds: int,
    workers: int | None,
    resume: bool,
    stop: Event,
) -> list[FederationResult]:
    """One method with each seed."""

    results = []
    for seed in range(config.seed, config.seed + seeds):
        seeded, rows = replace(config, seed=seed), list[Any]()
        forecast = Forecast(repeats=not errors.is_terminal)
        with Live(console=errors, transient=True) as live:

            def show(
                row: dict[str, Any],
                accuracies: dict[int, float],
                live: Any = live,
                rows: Any = rows,
                forecast: Any = forecast,
            ) -> None:
                rows.append(row)
                pace = statistics.fmean(each["seconds"] for each in rows)
                forecast.say(pace * (config.rounds - row["round"]), f"{name}, round {row['round']}/{config.rounds}")
                live.update(_progress(name, rows, accuracies))
                for client, reason in row["left_out"].items():
                    errors.print(f"{name}, round {row['round']}: client {client} left out: {reason}")

            place = folder / (place_of(name) if seeds == 1 else f"{place_of(name)}-seed{seed}")
            results.append(run_by(engine, seeded, place, elsewhere, workers, resume, show, stop))
    return results


def place_of(method: str) -> str:
    """The folder's name for a method's run."""
    return method.replace(":", "-")


def _progress(method: str, rows: list[dict[str, Any]], accuracies: dict[int, float]) -> Table:
    """The live table: the last round, and each client's accuracy."""
    row = rows[-1]
    title = f"{method}: round {row['round']}, mean accuracy {in_percent(row['accuracy'])}, {row['seconds']:.1f} s"
    table = Table(title=title, box=None)
    for _ in range(5):
        table.add_column(justify="right")
    cells = [f"client {client} {in_percent(accuracy)}" for client, accuracy in accuracies.items()][:50]
    for start in range(0, len(cells), 5):
        table.add_row(*cells[start : start + 5])
    return table


def _summary(runs: list[FederationResult]) -> dict[str, Any]:
    last = [run.rows[-1] for run in runs]
    return {
        "best": [run.best for run in runs],
        "last": [row["accuracy"] for row in last],
        "worst_client": [row["worst"] for row in last],
        "spread": [row["spread"] for row in last],
        "seconds": [round(sum(row["seconds"] for row in run.rows), 1) for run in runs],
        **{
            key: [sum(row[key] for row in run.rows) for run in runs]
            for key in ("bytes_up", "bytes_down", "bytes_broadcast", "numbers_up", "numbers_down")
        },
    }


def _table(results: dict[str, list[FederationResult]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))  # 80 characters hold it, with intervals too
    table.add_column("method")
    for heading in ("best", "last", "worst", "spread", "seconds", "up", "down", "once"):
        table.add_column(heading, justify="right")
    for name, runs in results.items():
        summary = _summary(runs)
        best = in_percent(statistics.fmean(summary["best"]))
        if len(runs) > 1:
            best += f" ± {100 * statistics.stdev(summary['best']):.1f}"
        shares = [in_percent(statistics.fmean(summary[key])) for key in ("last", "worst_client", "spread")]
        traffic = [
            in_bytes(round(statistics.fmean(summary[key]))) for key in ("bytes_up", "bytes_down", "bytes_broadcast")
        ]
        table.add_row(name, best, *shares, f"{statistics.fmean(summary['seconds']):.0f}", *traffic)
    return table
