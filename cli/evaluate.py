"""`ktl edge evaluate`: how well a model does on its own test images, or on other data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ktl.errors import UsageError
from ktl.formatting import in_percent

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
    """Accuracy of a model on its test images, by class, and what it takes for what."""
    evaluation, names = _evaluated(run, data, skip_damaged)
    if as_json:
        record = {
            "accuracy": evaluation.accuracy,
            "class_accuracy": dict(zip(names, evaluation.class_accuracy, strict=True)),
            "confusion": evaluation.confusion.tolist(),
        }
        print(json.dumps(record))
    else:
        output.print(_table(evaluation, names))


def _evaluated(run: Path, data: str | None, skip_damaged: bool) -> tuple[Evaluation, list[str]]:
    from ktl.edge.other_data import evaluate_on
    from ktl.edge.run import evaluate_run
    from ktl.run_folder import is_bundle

    if data is not None:
        return evaluate_on(run, data, skip_damaged=skip_damaged)
    if is_bundle(run):
        raise UsageError(f"{run} is a bundle, which has no test images: name a folder of some by --data")
    return evaluate_run(run)


def _table(evaluation: Evaluation, names: list[str]) -> Table:
    classes = Table(title=f"test accuracy {in_percent(evaluation.accuracy)}", box=None, pad_edge=False)
    classes.add_column("class")
    classes.add_column("accuracy", justify="right")
    classes.add_column("most often taken for")
    for index, (name, accuracy) in enumerate(zip(names, evaluation.class_accuracy, strict=True)):
        wrong = evaluation.confusion[index].clone()
        wrong[index] = 0
        taken = f"{names[int(wrong.argmax())]} ({int(wrong.max())} of {int(evaluation.confusion[index].sum())})"
        classes.add_row(name, "" if accuracy is None else in_percent(accuracy), taken if wrong.max() > 0 else "")
    return classes
