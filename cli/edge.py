"""`ktl edge ...`: train on a few images with a cloud's help, evaluate, predict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ktl.alignment import ALIGNMENTS
from ktl.data import check_apart, data_name
from ktl.edge.settings import RunConfig
from ktl.errors import CloudUnreachable, UsageError
from ktl.formatting import in_percent
from ktl.learning.settings import RECIPES, TrainingConfig
from ktl.models import MODELS
from ktl.objectives import TRANSFERS
from ktl.objectives.settings import TransferSettings
from ktl.registry import chosen
from ktl.settings import with_values
from ktl.spaces import SPACES

from .comparison import summary, table
from .connection import CaFile, CloudUrl, Insecure, Patience, TokenFile, access
from .console import check_choice, check_device, errors, output, stop_on_signal, unused_folder
from .predict import predict
from .report import write_report_apart
from .settings import Assignments, Option, assigned, with_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from ktl.edge.compare import Comparison
    from ktl.edge.network.transport import Access
    from ktl.edge.run import RunResult
    from ktl.edge.tracking import Tracker
    from ktl.loop.connection import CloudConnection
    from ktl.loop.rounds import Observer

app = typer.Typer(no_args_is_help=True, help="An edge device: train, evaluate, predict.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Run = Annotated[Path, typer.Argument(help="A run directory of `ktl edge train`.")]
Recipe = Annotated[str, typer.Option(help=" | ".join(RECIPES))]
TimeBudget = Annotated[
    float | None,
    typer.Option(min=0.1, help="Most seconds of training beside the cloud: cuts steps to fit.", show_default="none"),
]
Out = Annotated[Path | None, typer.Option(help="Run directory.", show_default="runs/<data>-<shots>shot-...")]
Resume = Annotated[
    Path | None,
    typer.Option(help="Go on with this run directory and its own settings; only a cloud's token and the like count."),
]
LocalOnly = Annotated[bool, typer.Option("--local-only", help="Train without a cloud.")]
OfflineOk = Annotated[bool, typer.Option("--offline-ok", help="Train without the cloud when it cannot be reached.")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Event files, under RUN/tensorboard.")]

OPTIONS = {
    "data": Option("data.source", help="A data set's name, a folder, or an .npz file; see `ktl datasets`."),
    "shots": Option("data.shots"),
    "ways": Option("data.ways", default="all"),
    "image_size": Option("data.image_size", default="the data's own; 32 for folders"),
    "skip_damaged": Option("data.skip_damaged"),
    "model": Option("model", help=" | ".join(MODELS.builtin())),
    "rounds": Option("rounds"),
    "generator": Option("cloud.generator", help="'builtin', a generator file, or diffusers:FOLDER_OR_ID."),
    "alignment": Option("cloud.alignment", help=" | ".join(ALIGNMENTS.builtin())),
    "space": Option("cloud.space", help=" | ".join(SPACES.builtin()), default="by the latents' size"),
    "transfer": Option("transfer", help=" | ".join(TRANSFERS.builtin())),
    "pairs_per_class": Option("cloud.pairs_per_class", default="700 in grey to 2,000 in all"),
    "download_budget": Option("cloud.download_budget"),
    "steps": Option(
        "training.steps", default=f"{TrainingConfig.epochs} epochs, at least {TrainingConfig.min_steps} steps"
    ),
    "warm_start": Option("warm_start"),
    "warmup_steps": Option("transfer.warmup_steps", of=TransferSettings, default="by transfer and classes"),
    "weight": Option("transfer.weight", of=TransferSettings, default="by transfer"),
    "seed": Option("seed"),
    "device": Option("device", help="cpu | cuda | mps"),
    "precision": Option("precision"),
    "threads": Option("threads"),
}


@app.command()
@with_options(RunConfig, OPTIONS)
def train(
    values: dict[str, Any],
    recipe: Recipe = "tuned",
    assignments: Assignments = None,
    time_budget: TimeBudget = None,
    out: Out = None,
    resume: Resume = None,
    local_only: LocalOnly = False,
    cloud: CloudUrl = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    patience: Patience = 120.0,
    insecure: Insecure = False,
    offline_ok: OfflineOk = False,
    tensorboard: TensorBoard = False,
    as_json: AsJson = False,
) -> None:
    """Learn classes from a few images: prototypes go up, image-vector pairs come down, and a CNN trains on both.

    Then trains the same without the cloud and prints both results side by side.
    """
    if resume is not None:
        from ktl.loop.folder import RunFolder, load_config

        config, folder = load_config(resume, RunConfig), resume
        RunFolder(folder).check(config, resume=True)  # before a cloud is made ready or asked for
    else:
        config = _config(recipe, values | {"cloud.url": cloud} | assigned(assignments), local_only)
        folder = out or unused_folder(f"{data_name(config.data.source)}-{config.data.shots}shot-seed{config.seed}")
        check_apart(config.data.source, folder)
        config = config if time_budget is None else _in_time(config, time_budget)
    elsewhere = None
    if config.cloud.url is not None and config.transfer is not None:
        elsewhere = access(config.cloud.url, token_file, ca_file, patience, insecure)
    training = _Training(config, folder, elsewhere, resume=resume is not None, quiet=as_json)
    result, comparison = training.run(offline_ok=offline_ok, tensorboard=tensorboard)
    _show(result, comparison, as_json=as_json)


def _config(recipe: str, values: dict[str, Any], local_only: bool) -> RunConfig:
    """The run that the options ask for: a recipe, and what else is set."""
    check_choice("recipe", recipe, list(RECIPES))
    if values["cloud.url"] is not None and "cloud.generator" in values:
        raise UsageError("--generator and --cloud exclude each other: a cloud elsewhere has a generator of its own")
    if local_only and values.get("warm_start") == "cloud":
        raise UsageError("--warm-start cloud and --local-only exclude each other: a warm start comes from a cloud")
    config = with_values(RunConfig(training=RECIPES[recipe]), values)
    check_device(config.device)
    return replace(config, transfer=None) if local_only else config


def _in_time(config: RunConfig, seconds: float) -> RunConfig:
    from ktl.edge.run import draw
    from ktl.learning.pace import fit_to_time

    fitted = fit_to_time(config, draw(config), seconds)
    if fitted != config:
        settings = None if fitted.transfer is None else chosen(fitted.transfer).settings
        steps = "warm_started_steps" if fitted.warm_start == "cloud" else "warmup_steps"
        warmup = getattr(settings, steps, 0)
        errors.print(f"in {seconds:g} seconds: {warmup} steps on the pairs, {fitted.training.steps} on the shots")
    return fitted


class _Training:
    """A run beside its twin without a cloud, shown while it goes on."""

    def __init__(self, config: RunConfig, folder: Path, elsewhere: Access | None, *, resume: bool, quiet: bool) -> None:
        self.config = config
        self.folder = folder
        self.elsewhere = elsewhere
        self.resume = resume
        self.quiet = quiet

    def run(self, *, offline_ok: bool, tensorboard: bool) -> tuple[RunResult, Comparison | None]:
        """The run's result, and the comparison with its twin if a cloud helped."""
        from ktl.edge.run import train_edge
        from ktl.edge.tracking import tracked

        from .progress import RunProgress

        config = self.config
        board, local_board = _boards(self.folder, tensorboard)
        comparison: Comparison | None = None
        with stop_on_signal() as stop, RunProgress(quiet=self.quiet) as progress:
            local = tracked(progress.observer("local only", 1, stop), local_board, config)
            if config.transfer is None:
                result = train_edge(config, self.folder, resume=self.resume, observer=local)
            else:
                observer = tracked(progress.observer("KTL", config.rounds, stop), board, config)
                try:
                    cloud = self._cloud(progress.steps("cloud's warm start"), stop)
                    comparison = self._beside_local(cloud, observer, local)
                    result = comparison.ktl
                except CloudUnreachable as error:
                    if not offline_ok:
                        raise
                    result = self._offline(error, local)
        for tracker in [*board, *local_board]:
            tracker.finished(result)
        return result, comparison

    def _cloud(self, on_warm_start: Callable[[int, int, float], None], stop: Event) -> CloudConnection:
        if self.elsewhere is not None:
            from ktl.edge.network.http import HttpCloud

            return HttpCloud(self.elsewhere, self.folder)
        from ktl.cloud.embedded import embedded_cloud
        from ktl.warm_start.settings import WarmStartConfig

        cloud = self.config.cloud
        return embedded_cloud(
            chosen(cloud.generator),
            chosen(cloud.space) if cloud.space else None,
            WarmStartConfig(images=cloud.warm_start_images),
            on_step=on_warm_start,
            should_stop=stop.is_set,
        )

    def _beside_local(self, cloud: CloudConnection, observer: Observer, local: Observer) -> Comparison:
        from ktl.edge.compare import train_beside_local

        comparison = train_beside_local(
            self.config, self.folder, cloud, resume=self.resume, observer=observer, local_observer=local
        )
        _keep_valid_latents(self.config, self.folder, cloud)
        return comparison

    def _offline(self, error: CloudUnreachable, local: Observer) -> RunResult:
        from ktl.edge.compare import train_alone
        from ktl.loop.folder import RunFolder

        errors.print(f"{error}\ntraining without the cloud; with it later: ktl edge train --resume {self.folder}")
        RunFolder(self.folder).start(self.config)
        return train_alone(self.config, self.folder, resume=True, observer=local)


def _show(result: RunResult, comparison: Comparison | None, *, as_json: bool) -> None:
    from ktl.data.depth import described

    folder = result.out
    report = write_report_apart(folder)
    if as_json:
        print(json.dumps(summary(result, comparison) | {"report": report and str(report)}))
        return
    output.print(table(result, comparison))
    for line in described(result.ranges):
        errors.print(line)
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


def _keep_valid_latents(config: RunConfig, folder: Path, cloud: CloudConnection) -> None:
    """For the report's picture of the latent space, which only an embedded cloud can draw from."""
    from ktl.cloud.embedded import EmbeddedCloud
    from ktl.edge.record import MAX_LATENTS, add_valid_latents
    from ktl.generators.base import sample_latents
    from ktl.seeds import stream

    if isinstance(cloud, EmbeddedCloud):
        rng = stream(config.seed, "valid latents")
        add_valid_latents(folder, sample_latents(cloud.generator, MAX_LATENTS, rng))
