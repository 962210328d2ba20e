"""`ktl warm-start ...`: extractors that a cloud trains once for all edges of one architecture."""

from __future__ import annotations

from typing import Annotated

import typer

from ktl.generators import BUILTIN
from ktl.models import MODELS
from ktl.settings import help_for
from ktl.spaces import SPACES
from ktl.warm_start.settings import Architecture, WarmStartConfig

from .console import errors, output, stop_on_signal
from .progress import RunProgress

app = typer.Typer(no_args_is_help=True, help="The cloud's warm starts: train one ahead.")


@app.callback()
def group() -> None:
    """So that `train` is a command of its own, though it is the only one."""


@app.command()
def train(
    model: Annotated[str, typer.Option(help=" | ".join(MODELS.builtin()))] = "cnn4",
    image_size: Annotated[int, typer.Option(min=4, help="Pixels, square, of the edges' images.")] = 32,
    grey: Annotated[bool, typer.Option("--grey", help="For grey images.", show_default="colour")] = False,
    generator: Annotated[str, typer.Option(help="Whose images to train on.")] = BUILTIN,
    space: Annotated[
        str | None, typer.Option(help=" | ".join(SPACES.builtin()), show_default="by the latents' size")
    ] = None,
    images: Annotated[int, typer.Option(min=2, help=help_for(WarmStartConfig, "images"))] = WarmStartConfig.images,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Train the extractor that edges get with --warm-start cloud, and keep it where this user's clouds find it.

    Ctrl-C saves; the same command goes on.
    """
    from ktl.generators import load_generator
    from ktl.learning.process import prepare_process
    from ktl.spaces import space_of
    from ktl.warm_start.warm_starts import WarmStarts

    prepare_process(threads)
    drawing = load_generator(generator, cached=True)
    shared = space_of(drawing, SPACES.parse(space) if space else None)
    warm_starts = WarmStarts(drawing, shared, WarmStartConfig(images=images))
    wanted = Architecture(model, 1 if grey else 3, image_size)
    with stop_on_signal() as stop, RunProgress(quiet=False) as progress:
        payload = warm_starts.make(wanted, progress.steps("warm start"), stop.is_set)
    output.print(f"warm start: {warm_starts.file(wanted)}, {len(payload):,} bytes")
    errors.print("next: ktl cloud serve, or ktl edge train --warm-start cloud, with the same generator and space")
