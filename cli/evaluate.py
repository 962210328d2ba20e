"""`ktl edge evaluate`: how well a model does on its own test images, or on other data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ktl.edge.settings import RunConfig
from ktl.errors import UsageError
from ktl.formatting import in_gain
from ktl.intervals import wilson_interval
from ktl.run_folder import is_bundle, is_federation, is_node_folder, to_export_first

from .comparison import show_evaluation, tells_little
from .console import output

if TYPE_CHECKING:
    from ktl.learning.evaluation import Evaluation


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory of `ktl edge train`, or a bundle of `ktl export`.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="Where the run's data is now; or other data with classes of these names.", show_default="its own"
        ),
    ] = None,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave unreadable files of other data out.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Accuracy of a model on its test images, by class, and which classes it confuses."""
    evaluation, names = _evaluated(run, data, skip_damaged)
    if as_json:
        record = {
            "accuracy": evaluation.accuracy,
            "right": evaluation.right,
            "tested": evaluation.tested,
            "interval": wilson_interval(evaluation.right, evaluation.tested),
            "class_accuracy": dict(zip(names, evaluation.class_accuracy, strict=True)),
            "confusion": evaluation.confusion.tolist(),
        }
        print(json.dumps(record))
        return
    show_evaluation(evaluation, names)
    if data is None and not is_node_folder(run):
        _show_what_it_tells(run, evaluation)


def _show_what_it_tells(run: Path, evaluation: Evaluation) -> None:
    """The gain over local training, if there was one, and that few images tell little."""
    from ktl.edge.compare import LOCAL, paired_gain
    from ktl.loop.folder import load_config

    if all((each / "record.json").is_file() for each in (run, run / LOCAL)):
        output.print(f"gain over local training: {in_gain(*paired_gain(run, run / LOCAL))}")
    if little := tells_little(evaluation.tested, run, load_config(run, RunConfig).data.shots):
        output.print(little)


def _evaluated(run: Path, data: str | None, skip_damaged: bool) -> tuple[Evaluation, list[str]]:
    from ktl.edge.other_data import evaluate_on
    from ktl.edge.run import evaluate_run

    if data is not None:
        return evaluate_on(run, data, skip_damaged=skip_damaged)
    if is_bundle(run):
        raise UsageError(f"{run} is a bundle, which has no test images: name a folder of some by --data")
    if is_node_folder(run):
        return _kept_by_device(run)
    if is_federation(run):
        raise UsageError(f"{to_export_first(run)}, and evaluate that with --data")
    return evaluate_run(run)


def _kept_by_device(folder: Path) -> tuple[Evaluation, list[str]]:
    from ktl.federation.trained_client import kept_client
    from ktl.learning.evaluation import evaluate

    trained = kept_client(folder)
    task = trained.learner.task
    tested = evaluate(
        trained.predictor, task.test_images, task.test_labels, len(task.class_names), trained.learner.device
    )
    return tested, task.class_names
