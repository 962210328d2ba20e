"""`ktl edge predict`: pictures from files, folders, standard input, a video or a camera. Never imports torch."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ktl.errors import UsageError
from ktl.formatting import in_percent

from .console import errors, output

if TYPE_CHECKING:
    from rich.progress import Progress

    from ktl.edge.inference.predictor import Prediction, Source


def predict(
    run: Annotated[Path, typer.Argument(help="A run directory of `ktl edge train`, or a bundle of `ktl export`.")],
    images: Annotated[
        list[str] | None,
        typer.Argument(help="Image files, folders, patterns such as 'photos/**/*.jpg', or - for standard input."),
    ] = None,
    video: Annotated[
        str | None, typer.Option(help="A video file, or a camera's number: 0. Needs opencv-python.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="For a video: every n-th frame.")] = 1,
    top: Annotated[int, typer.Option(min=1, help="Classes to show, the most probable first.")] = 1,
    reject_below: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Say 'unknown' where the best probability is lower.")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per picture, one per line.")] = False,
) -> None:
    """Classify pictures with a finished run; exit code 1 if any could not be read."""
    from ktl.edge.inference.predictor import Predictor

    if (video is None) == (not images):
        raise UsageError("give image files, folders, patterns or - ; or else --video")
    predictor = Predictor(run)
    total, sources = _sources(images or [], video, every)
    failed = 0
    with _bar(total) as bar:
        task = bar.add_task("pictures", total=total) if bar else None
        try:
            for prediction in predictor.predict(sources, top=top, reject_below=reject_below):
                failed += prediction.error is not None
                _print(prediction, as_json)
                if bar and task is not None:
                    bar.advance(task)
        except BrokenPipeError:  # the reader of our output has seen enough
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - so that the exit has nothing to flush
    if failed:
        errors.print(f"{failed} of {total if total is not None else 'the'} pictures could not be read")
        raise typer.Exit(1)


def _sources(images: list[str], video: str | None, every: int) -> tuple[int | None, Iterable[Path | Source]]:
    """What to classify, and how many there are: None where that shows only at the end."""
    from ktl.edge.inference.sources import frames, picture_files

    if video is not None:
        return None, frames(video, every)
    if images == ["-"]:
        return 1, [("standard input", io.BytesIO(sys.stdin.buffer.read()))]
    files = picture_files(images)
    return len(files), files


def _bar(total: int | None) -> Progress | nullcontext[None]:
    """A progress bar where the results go to a file and a person watches the rest; else nothing."""
    if total == 1 or sys.stdout.isatty() or not errors.is_terminal:
        return nullcontext()
    from rich.progress import Progress

    return Progress(console=errors, transient=True)


def _print(prediction: Prediction, as_json: bool) -> None:
    if prediction.error is not None:
        if as_json:
            print(json.dumps({"file": prediction.name, "error": prediction.error}))
        errors.print(prediction.error)
    elif as_json:
        row: dict[str, Any] = {"file": prediction.name, "label": prediction.label}
        row["probability"] = prediction.probability
        if len(prediction.top) > 1:
            row["top"] = [{"label": name, "probability": share} for name, share in prediction.top]
        print(json.dumps(row))
    else:
        classes = ", ".join(f"{name} ({in_percent(share)})" for name, share in prediction.top)
        known = prediction.label == prediction.top[0][0]
        output.print(f"{prediction.name}: {classes if known else f'{prediction.label}; at best {classes}'}")
