"""`ktl edge ...`: train on a few images with a cloud's help, evaluate, predict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ktl.alignment import ALIGNMENTS
from ktl.config import (
    RECIPES,
    TRANSFERS,
    CloudConfig,
    DataConfig,
    RunConfig,
    TrainingConfig,
    load_config,
    save_config,
)
from ktl.errors import CloudUnreachable, UsageError
from ktl.formatting import in_percent
from ktl.models import MODELS
from ktl.objectives import TRANSFERS as TASKS

from .comparison import summary, table
from .connection import CaFile, CloudUrl, Insecure, Patience, TokenFile, access
from .console import check_choice, errors, output, stop_on_signal, unused_folder
from .predict import predict
from .report import write_report_apart

if TYPE_CHECKING:
    from ktl.edge.compare import Comparison
    from ktl.edge.network.transport import Access
    from ktl.edge.tracking import Tracker
    from ktl.loop.connection import CloudConnection

app = typer.Typer(no_args_is_help=True, help="An edge device: train, evaluate, predict.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Run = Annotated[Path, typer.Argument(help="A run directory of `ktl edge train`.")]


@app.command()
def train(
    data: Annotated[str, typer.Option(help="A data set's name, a folder, or an .npz file; see `ktl datasets`.")] = (
        DataConfig.source
    ),
    shots: Annotated[int, typer.Option(help="Labelled images a class.")] = DataConfig.shots,
    ways: Annotated[int | None, typer.Option(help="Classes, drawn by seed.", show_default="all")] = DataConfig.ways,
    rounds: Annotated[int, typer.Option(help="Times that prototypes go up and pairs come down.")] = RunConfig.rounds,
    generator: Annotated[str, typer.Option(help="'builtin', a generator file, or diffusers:FOLDER_OR_ID.")] = (
        CloudConfig.generator
    ),
    alignment: Annotated[str, typer.Option(help=" | ".join(ALIGNMENTS.builtin()))] = CloudConfig.alignment,
    transfer: Annotated[str, typer.Option(help=" | ".join(TASKS.builtin()))] = "image-vector",
    pairs_per_class: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most image-vector pairs a class and round.", show_default="700 in grey to 2,000 in all"
        ),
    ] = CloudConfig.pairs_per_class,
    download_budget: Annotated[
        int, typer.Option(help="Most bytes down, over all rounds; sets how many pairs come.")
    ] = CloudConfig.download_budget,
    model: Annotated[str, typer.Option(help=" | ".join(MODELS.builtin()))] = RunConfig.model,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Pixels, square.", show_default="the data's own; 32 for folders")
    ] = DataConfig.image_size,
    recipe: Annotated[str, typer.Option(help=" | ".join(RECIPES))] = "tuned",
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Training steps on the shots.",
            show_default=f"{TrainingConfig.epochs} epochs, at least {TrainingConfig.least_steps} steps",
        ),
    ] = None,
    warmup_steps: Annotated[
        int | None, typer.Option(min=0, help="Steps on the pairs before.", show_default="by task and classes")
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option(min=0.0, help="Of the pairs' loss beside the shots' (the paper's mu).", show_default="by task"),
    ] = None,
    time_budget: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Most seconds of training beside the cloud: cuts steps to fit.", show_default="none"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = RunConfig.seed,
    out: Annotated[Path | None, typer.Option(help="Run directory.", show_default="runs/<data>-<shots>shot-...")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with this run directory and its own settings; only a cloud's token and the like count."
        ),
    ] = None,
    local_only: Annotated[bool, typer.Option("--local-only", help="Train without a cloud.")] = RunConfig.local_only,
    cloud: CloudUrl = CloudConfig.url,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    patience: Patience = 120.0,
    insecure: Insecure = False,
    offline_ok: Annotated[
        bool, typer.Option("--offline-ok", help="Train without the cloud when it cannot be reached.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu | cuda | mps")] = RunConfig.device,
    precision: Annotated[
        str, typer.Option(help="auto | bfloat16 | float32: of the extractor's arithmetic in training.")
    ] = RunConfig.precision,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = RunConfig.threads,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Event files, under RUN/tensorboard.")] = False,
    as_json: AsJson = False,
) -> None:
    """Learn classes from a few images: prototypes go up, image-vector pairs come down, and a CNN trains on both.

    Then trains the same without the cloud and prints both results side by side.
    """
    if resume is not None:
        config, folder = load_config(resume / "config.json", RunConfig), resume
    else:
        check_choice("recipe", recipe, list(RECIPES))
        if cloud is not None and generator != CloudConfig.generator:
            raise UsageError("--generator and --cloud exclude each other: a cloud elsewhere has a generator of its own")
        training, task = RECIPES[recipe], TRANSFERS[TASKS.check(transfer)]
        config = RunConfig(
            data=DataConfig(source=data, shots=shots, ways=ways, image_size=image_size),
            model=MODELS.check(model),
            rounds=rounds,
            training=training if steps is None else replace(training, steps=steps),
            transfer=replace(
                task,
                warmup_steps=task.warmup_steps if warmup_steps is None else warmup_steps,
                weight=task.weight if weight is None else weight,
            ),
            cloud=CloudConfig(generator, ALIGNMENTS.check(alignment), pairs_per_class, download_budget, url=cloud),
            local_only=local_only,
            seed=seed,
            device=_device(device),
            precision=precision,
            threads=threads,
        )
        folder = out or unused_folder(f"{Path(data).stem}-{shots}shot-seed{seed}")
        if time_budget is not None:
            config = _in_time(config, time_budget)
    elsewhere = None
    if config.cloud.url is not None and not config.local_only:
        elsewhere = access(config.cloud.url, token_file, ca_file, patience, insecure)
    _train(
        config,
        folder,
        elsewhere,
        resume=resume is not None,
        offline_ok=offline_ok,
        as_json=as_json,
        tensorboard=tensorboard,
    )


def _in_time(config: RunConfig, seconds: float) -> RunConfig:
    from ktl.edge.run import draw
    from ktl.learning.pace import fit_to_time

    fitted = fit_to_time(config, draw(config), seconds)
    if fitted != config:
        steps = f"{fitted.transfer.warmup_steps} steps on the pairs, {fitted.training.steps} on the shots"
        errors.print(f"in {seconds:g} seconds: {steps}")
    return fitted


def _train(
    config: RunConfig,
    folder: Path,
    elsewhere: Access | None,
    *,
    resume: bool,
    offline_ok: bool,
    as_json: bool,
    tensorboard: bool,
) -> None:
    from ktl.edge.compare import train_alone, train_beside_local
    from ktl.edge.run import train_edge
    from ktl.edge.tracking import tracked

    from .progress import RunProgress

    board, local_board = _boards(folder, tensorboard)
    comparison: Comparison | None = None
    with stop_on_signal() as stop, RunProgress(quiet=as_json) as progress:
        local_observer = tracked(progress.observer("local only", 1, stop), local_board, config)
        if config.local_only:
            result = train_edge(config, folder, resume=resume, observer=local_observer)
        else:
            observer = tracked(progress.observer("KTL", config.rounds, stop), board, config)
            try:
                cloud = _cloud(config, folder, elsewhere)
                comparison = train_beside_local(
                    config, folder, cloud, resume=resume, observer=observer, local_observer=local_observer
                )
                result = comparison.ktl
                _keep_valid_latents(config, folder, cloud)
            except CloudUnreachable as error:
                if not offline_ok:
                    raise
                errors.print(f"{error}\ntraining without the cloud; with it later: ktl edge train --resume {folder}")
                folder.mkdir(parents=True, exist_ok=True)
                save_config(config, folder / "config.json")
                result = train_alone(config, folder, resume=True, observer=local_observer)
    folder = result.out
    for tracker in [*board, *local_board]:
        tracker.finished(result)
    report = write_report_apart(folder)
    if as_json:
        print(json.dumps(summary(result, comparison) | {"report": report and str(report)}))
        return
    output.print(table(result, comparison))
    output.print(f"run: {folder}" + (f"\nreport: {report}" if report else ""))
    output.print(f"next: ktl edge predict {folder} IMAGE...   or   ktl export {folder}")


def _boards(folder: Path, wanted: bool) -> tuple[list[Tracker], list[Tracker]]:
    """TensorBoard's curves of the two trainings."""
    from ktl.edge.tracking import TensorBoardTracker

    if not wanted:
        return [], []
    return [TensorBoardTracker(folder / "tensorboard" / "ktl")], [TensorBoardTracker(folder / "tensorboard" / "local")]


@app.command()
def evaluate(run: Run, as_json: AsJson = False) -> None:
    """Accuracy of a run on its test images, by class, and what it takes for what."""
    from ktl.edge.run import evaluate_run

    evaluation, names = evaluate_run(run)
    if as_json:
        record = {
            "accuracy": evaluation.accuracy,
            "class_accuracy": dict(zip(names, evaluation.class_accuracy, strict=True)),
            "confusion": evaluation.confusion.tolist(),
        }
        print(json.dumps(record))
        return
    classes = Table(title=f"test accuracy {in_percent(evaluation.accuracy)}", box=None, pad_edge=False)
    classes.add_column("class")
    classes.add_column("accuracy", justify="right")
    classes.add_column("most often taken for")
    for index, (name, accuracy) in enumerate(zip(names, evaluation.class_accuracy, strict=True)):
        wrong = evaluation.confusion[index].clone()
        wrong[index] = 0
        taken = f"{names[int(wrong.argmax())]} ({int(wrong.max())} of {int(evaluation.confusion[index].sum())})"
        classes.add_row(name, in_percent(accuracy), taken if wrong.max() > 0 else "")
    output.print(classes)


app.command()(predict)


def _cloud(config: RunConfig, folder: Path, elsewhere: Access | None) -> CloudConnection:
    if elsewhere is not None:
        from ktl.edge.network.http import HttpCloud

        return HttpCloud(elsewhere, folder)
    from ktl.cloud.embedded import EmbeddedCloud
    from ktl.generators import load_generator

    return EmbeddedCloud(load_generator(config.cloud.generator, cached=True))


def _keep_valid_latents(config: RunConfig, folder: Path, cloud: CloudConnection) -> None:
    """For the report's picture of the latent space, which only an embedded cloud can draw from."""
    from ktl.cloud.embedded import EmbeddedCloud
    from ktl.edge.record import MAX_LATENTS, add_valid_latents
    from ktl.generators.base import sample_latents
    from ktl.seeds import stream

    if isinstance(cloud, EmbeddedCloud):
        rng = stream(config.seed, "valid latents")
        add_valid_latents(folder, sample_latents(cloud.generator, MAX_LATENTS, rng))


def _device(name: str) -> str:
    check_choice("device", name.split(":")[0], ["cpu", "cuda", "mps"])
    if name != "cpu":
        import torch

        if not getattr(torch, name.split(":")[0]).is_available():
            raise UsageError(
                f"--device {name}: this machine has none that torch can use; leave it out to train on the CPU"
            )
    return name
