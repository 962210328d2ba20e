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

from ktl.config import (
    FEDERATED_TRANSFER,
    RECIPES,
    TRANSFERS,
    CloudConfig,
    FederationConfig,
    PartitionConfig,
    TrainingConfig,
)
from ktl.errors import UsageError
from ktl.formatting import in_bytes, in_percent
from ktl.methods import METHODS
from ktl.models import GROUPS, model_group

from .console import check_choice, errors, output, stop_on_signal, unused_folder
from .partition import Beta, ClassesPerClient, Clients, Kind, Seed, Shots, partition_config
from .report import write_report_apart

if TYPE_CHECKING:
    from threading import Event

    from ktl.federation.run import FederationResult

STEPS = 200  # a client, over all rounds


def federate(
    data: Annotated[
        str, typer.Option(help="A data set's name, a folder, an .npz file, or a saved partition's folder.")
    ] = FederationConfig.source,
    method: Annotated[str, typer.Option(help="With commas between, or all: " + " | ".join(METHODS.names()))] = (
        "local,fedktl"
    ),
    clients: Clients = PartitionConfig.clients,
    partition: Kind = PartitionConfig.kind,
    beta: Beta = PartitionConfig.beta,
    classes_per_client: ClassesPerClient = PartitionConfig.classes_per_client,
    shots: Shots = PartitionConfig.shots,
    models: Annotated[
        str, typer.Option(help=f"A group ({', '.join(GROUPS)}), or names with commas between; module:Class is yours.")
    ] = FederationConfig.models,
    rounds: Annotated[int, typer.Option(help="Times that all clients train and exchange.")] = 5,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps of a client over all rounds.", show_default=str(STEPS))
    ] = None,
    join_ratio: Annotated[float, typer.Option(help="Share of clients that take part in a round.")] = (
        FederationConfig.join_ratio
    ),
    drop_ratio: Annotated[float, typer.Option(help="Share of those that fail, drawn by seed.")] = (
        FederationConfig.drop_ratio
    ),
    deadline: Annotated[
        float | None, typer.Option(help="Seconds a client may train in a round.", show_default="none")
    ] = FederationConfig.deadline,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many rounds without a better mean.", show_default="never")
    ] = FederationConfig.patience,
    recipe: Annotated[str, typer.Option(help=" | ".join(RECIPES) + ": published is the papers' own.")] = "tuned",
    generator: Annotated[str, typer.Option(help="'builtin' or a generator file.")] = CloudConfig.generator,
    image_size: Annotated[int | None, typer.Option(min=1, help="Pixels.", show_default="the data's own")] = None,
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method, with seeds from --seed on.")] = 1,
    device: Annotated[str, typer.Option(help="cpu | cuda")] = FederationConfig.device,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Client processes; 0 trains in this one.", show_default="one a core")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the runs.", show_default="runs/federation-...")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the runs in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Train many clients with unlike models, and compare methods: by default each client alone, and FedKTL."""
    names = METHODS.names() if method == "all" else [METHODS.check(name.strip()) for name in method.split(",")]
    check_choice("recipe", recipe, list(RECIPES))
    model_group(models)  # refuses unknown names at once
    if resume and out is None:
        raise UsageError("--resume needs the folder of the runs: give --out")
    config = FederationConfig(
        source=data,
        image_size=image_size,
        partition=partition_config(partition, clients, beta, classes_per_client, shots),
        models=models,
        rounds=rounds,
        join_ratio=join_ratio,
        drop_ratio=drop_ratio,
        deadline=deadline,
        patience=patience,
        training=_training(recipe, steps),
        transfer=TRANSFERS["mse"] if recipe == "published" else FEDERATED_TRANSFER,
        cloud=CloudConfig(generator, "published", 1) if recipe == "published" else CloudConfig(generator),
        seed=seed,
        device=device,
    )
    folder = out or unused_folder(f"federation-{Path(data).stem}-{clients}-seed{seed}")
    with stop_on_signal() as stop:
        results = {name: _runs(replace(config, method=name), folder, seeds, workers, resume, stop) for name in names}
    report = write_report_apart(folder)
    if as_json:
        print(json.dumps({"runs": str(folder)} | {name: _summary(runs) for name, runs in results.items()}))
        return
    output.print(_table(results))
    output.print(f"runs: {folder}")
    if report is not None:
        output.print(f"report: {report}")
    output.print("next: ktl federate --method all --seeds 3, or ktl report with the folders of several federations")


def _training(recipe: str, steps: int | None) -> TrainingConfig:
    if recipe == "published" and steps is None:
        return RECIPES[recipe]
    return replace(RECIPES[recipe], steps=steps or STEPS)


def _runs(
    config: FederationConfig, folder: Path, seeds: int, workers: int | None, resume: bool, stop: Event
) -> list[FederationResult]:
    """One method with each seed."""
    from ktl.federation.run import federate as run

    results = []
    for seed in range(config.seed, config.seed + seeds):
        seeded, rows = replace(config, seed=seed), list[Any]()
        with Live(console=errors, transient=True) as live:

            def show(row: dict[str, Any], accuracies: dict[int, float], live: Any = live, rows: Any = rows) -> None:
                rows.append(row)
                live.update(_progress(config.method, rows, accuracies))
                for client, reason in row["left_out"].items():
                    errors.print(f"{config.method}, round {row['round']}: client {client} left out: {reason}")

            place = folder / (config.method if seeds == 1 else f"{config.method}-seed{seed}")
            results.append(run(seeded, place, workers=workers, resume=resume, on_round=show, should_stop=stop.is_set))
    return results


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
        found = _summary(runs)
        best = in_percent(statistics.fmean(found["best"]))
        if len(runs) > 1:
            best += f" ± {100 * statistics.stdev(found['best']):.1f}"
        shares = [in_percent(statistics.fmean(found[key])) for key in ("last", "worst_client", "spread")]
        traffic = [
            in_bytes(round(statistics.fmean(found[key]))) for key in ("bytes_up", "bytes_down", "bytes_broadcast")
        ]
        table.add_row(name, best, *shares, f"{statistics.fmean(found['seconds']):.0f}", *traffic)
    return table
