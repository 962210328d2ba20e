"""`ktl edge ...`: train on a few images with a cloud's help, evaluate, predict."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ktl.alignment import ALIGNMENTS
from ktl.data import check_apart, data_name
from ktl.edge.settings import RunConfig
from ktl.errors import UsageError
from ktl.learning.settings import RECIPES, TrainingConfig
from ktl.models import MODELS
from ktl.objectives import TRANSFERS
from ktl.objectives.settings import TransferSettings
from ktl.settings import with_values
from ktl.spaces import SPACES

from .comparison import summary, table, tells_little
from .connection import CaFile, CloudUrl, Insecure, Patience, TokenFile, access
from .console import check_choice, check_device, errors, output, unused_folder
from .evaluate import evaluate
from .folds import fold_summary, show_folds, validated
from .join import join
from .joining import session_line, session_summary, taking_part
from .predict import predict
from .progress import keep_time
from .report import write_report_apart
from .settings import Assignments, Option, assigned, with_options
from .training import Training

if TYPE_CHECKING:
    from ktl.data.fewshot import FewShotTask
    from ktl.edge.compare import Comparison
    from ktl.edge.folds_file import CrossValidation
    from ktl.edge.network.transport import Access
    from ktl.edge.run import RunResult
    from ktl.learning.pace import Timekeeper

app = typer.Typer(no_args_is_help=True, help="An edge device: train, evaluate, predict.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Recipe = Annotated[str, typer.Option(help=" | ".join(RECIPES))]
TimeBudget = Annotated[
    float | None,
    typer.Option(min=0.1, help="Most seconds of training beside the cloud: cuts steps to fit.", show_default="none"),
]
Out = Annotated[Path | None, typer.Option(help="Run directory.", show_default="runs/<data>-<shots>shot-...")]
Resume = Annotated[
    Path | None,
    typer.Option(
        help="Go on with this run directory and its own settings; only a cloud's token and the like count, "
        "and --data, where its data has moved."
    ),
]
LocalOnly = Annotated[bool, typer.Option("--local-only", help="Train without a cloud.")]
OfflineOk = Annotated[bool, typer.Option("--offline-ok", help="Train without the cloud when it cannot be reached.")]
KeepSession = Annotated[
    bool, typer.Option("--keep-session", help="Leave the session on the cloud; else it is deleted in the end.")
]
Classes = Annotated[
    Path | None,
    typer.Option(help="A text file of all the session's classes, one a line, where this device has images of some."),
]
Folds = Annotated[
    int | None,
    typer.Option(min=2, help="Also cross-validate over the labelled images, in this many folds.", show_default="none"),
]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Event files, under RUN/tensorboard.")]

OPTIONS = {
    "session": Option("cloud.session", help="On --cloud, of several devices that learn together."),
    "client": Option("data.client"),
    "epsilon": Option("noise.epsilon", help="Noise on what a --session pools; less is more noise.", default="none"),
    "data": Option("data.source", help="A data set's name, a folder, or an .npz file; see `ktl datasets`."),
    "shots": Option("data.shots"),
    "ways": Option("data.ways", default="all"),
    "image_size": Option(
        "data.image_size", default="the data's own; folders: 64 where photographs are as large, else 32"
    ),
    "skip_damaged": Option("data.skip_damaged"),
    "fit": Option("data.fit"),
    "model": Option("model", default="cnn4; resnet8-slim for 64 pixels in colour", help=" | ".join(MODELS.builtin())),
    "weights": Option("weights", default="none"),
    "rounds": Option("rounds"),
    "generator": Option(
        "cloud.generator",
        help="'builtin', 'latent-flow', a generator file, pool:FOLDER_OR_TAR, or diffusers:FOLDER_OR_ID.",
    ),
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
    classes: Classes = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    patience: Patience = 120.0,
    insecure: Insecure = False,
    offline_ok: OfflineOk = False,
    keep_session: KeepSession = False,
    tensorboard: TensorBoard = False,
    folds: Folds = None,
    as_json: AsJson = False,
) -> None:
    """Learn classes from a few images: prototypes go up, image-vector pairs come down, and a CNN trains on both.

    Then trains the same without the cloud and prints both results side by side.
    """
    reach = partial(_elsewhere, token_file=token_file, ca_file=ca_file, patience=patience, insecure=insecure)
    if resume is not None:
        config, folder = _resumed(resume, folds), resume
        if _show_ended(config, folder, folds, as_json=as_json):
            return
        task, timekeeper = _moved_task(config, folder, values.get("data.source")), None
    else:
        values |= {"cloud.url": cloud} | assigned(assignments)
        config = _config(recipe, values, local_only, folds)
        config, task = taking_part(config, reach(config), values, classes)
        folder = _new_folder(config, out)
        config, task, timekeeper = _in_time(config, task, time_budget)
    training = Training(config, folder, task, reach(config), timekeeper, resume=resume is not None, quiet=as_json)
    result, comparison = training.run(offline_ok=offline_ok, keep_session=keep_session, tensorboard=tensorboard)
    validation = None if folds is None else validated(result.out, folds, quiet=as_json)
    _show(config, result, comparison, validation, write_report_apart(result.out), as_json=as_json)


def _new_folder(config: RunConfig, out: Path | None) -> Path:
    folder = out or unused_folder(_run_name(config))
    check_apart(config.data.source, folder)
    return folder


def _in_time(
    config: RunConfig, task: FewShotTask | None, seconds: float | None
) -> tuple[RunConfig, FewShotTask | None, Timekeeper[RunConfig] | None]:
    """What fits, with the task that it was measured on: the photographs are read once."""
    if seconds is None:
        return config, task, None
    from ktl.edge.task import draw, settled

    task = task or draw(config)
    timekeeper = keep_time(settled(config, task), task, seconds)
    return timekeeper.config, task, timekeeper


def _elsewhere(
    config: RunConfig, token_file: Path | None, ca_file: Path | None, patience: float, insecure: bool
) -> Access | None:
    """How to reach the cloud, if it is not in this process."""
    if config.cloud.url is None or config.transfer is None:
        return None
    return access(config.cloud.url, token_file, ca_file, patience, insecure)


def _resumed(run: Path, folds: int | None) -> RunConfig:
    """The settings of a run that can be gone on with: else it is refused before a cloud is made ready or asked for."""
    from ktl.loop.folder import RunFolder, load_config

    config = load_config(run, RunConfig)
    RunFolder(run).check(config, resume=True)
    _check_folds(config, folds)
    return config


def _check_folds(config: RunConfig, folds: int | None) -> None:
    if folds is not None and config.shared:
        raise UsageError("--folds and --session exclude each other: other devices would have to train as often")


def _run_name(config: RunConfig) -> str:
    if config.data.client is not None:
        return f"{data_name(config.data.source)}-client{config.data.client}-seed{config.seed}"
    shots = str(config.data.shots).replace(" ", "")
    return f"{data_name(config.data.source)}-{shots}shot-seed{config.seed}"


def _config(recipe: str, values: dict[str, Any], local_only: bool, folds: int | None) -> RunConfig:
    """The run that the options ask for: a recipe, and what else is set."""
    check_choice("recipe", recipe, list(RECIPES))
    if values["cloud.url"] is not None and "cloud.generator" in values:
        raise UsageError("--generator and --cloud exclude each other: a cloud elsewhere has a generator of its own")
    if local_only and values.get("warm_start") == "cloud":
        raise UsageError("--warm-start cloud and --local-only exclude each other: a warm start comes from a cloud")
    config = with_values(RunConfig(training=RECIPES[recipe]), values)
    check_device(config.device)
    _check_folds(config, folds)
    return replace(config, transfer=None) if local_only else config


def _show_ended(config: RunConfig, folder: Path, folds: int | None, *, as_json: bool) -> bool:
    """Shows what a run came to, if it has ended: then there is nothing to go on with, and nothing in it is changed."""
    from ktl.edge.compare import read_ended

    ended = read_ended(config, folder)
    if ended is not None:
        if not as_json:
            errors.print(f"{folder} has ended: nothing in it is changed")
        kept = folder / "report.html"
        validation = None if folds is None else validated(folder, folds, quiet=as_json)
        report = write_report_apart(folder) if folds else kept if kept.is_file() else None
        _show(config, *ended, validation, report, as_json=as_json)
    return ended is not None


def _moved_task(config: RunConfig, folder: Path, data: str | None) -> FewShotTask | None:
    """The task of a run whose data is at `data` now; None where it is where it was."""
    from ktl.edge.task import draw

    return None if data is None else draw(config, folder, data)


def _show(
    config: RunConfig,
    result: RunResult,
    comparison: Comparison | None,
    validation: CrossValidation | None,
    report: Path | None,
    *,
    as_json: bool,
) -> None:
    from ktl.data.depth import described
    from ktl.edge.record import read_record

    folder = result.out
    weights = read_record(folder).weights
    if as_json:
        folds = {} if validation is None else {"folds": fold_summary(validation)}
        more: dict[str, Any] = {"report": report and str(report), "weights": weights}
        more |= {"session": session_summary(result.rows), "noise": asdict(config.noise)} if config.shared else {}
        print(json.dumps(summary(result, comparison) | folds | more))
        return
    output.print(table(result, comparison))
    if weights:
        output.print(f"started from {weights}")
    if config.shared:
        output.print(session_line(config, result.rows))
    if validation is not None:
        show_folds(validation)
    elif not config.shared and (little := tells_little(result.evaluation.tested, folder, config.data.shots)):
        output.print(little)
    for line in described(result.ranges):
        errors.print(line)
    output.print(f"run: {folder}" + (f"\nreport: {report}" if report else ""))
    output.print(f"next: ktl edge predict {folder} IMAGE...   or   ktl export {folder}")


app.command()(evaluate)
app.command(context_settings={"allow_extra_args": True})(join)
app.command()(predict)
