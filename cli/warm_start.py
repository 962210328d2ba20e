"""`ktl warm-start ...`: extractors that a cloud trains once for all edges of one architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ktl.encoders.training.settings import EncoderTrainingConfig
from ktl.generators import BUILTIN
from ktl.models import MODELS
from ktl.settings import help_for
from ktl.spaces import SPACES
from ktl.warm_start.settings import IMAGES, Architecture, WarmStartConfig

from .console import errors, output, stop_on_signal
from .encoder import print_row
from .progress import RunProgress

app = typer.Typer(no_args_is_help=True, help="The cloud's warm starts: train one ahead, or distil a better one.")

Model = Annotated[str, typer.Option(help=" | ".join(MODELS.builtin()))]
ImageSize = Annotated[int, typer.Option(min=4, help="Pixels, square, of the edges' images.")]
Grey = Annotated[bool, typer.Option("--grey", help="For grey images.", show_default="colour")]


@app.command()
def train(
    model: Model = "cnn4",
    image_size: ImageSize = 32,
    grey: Grey = False,
    generator: Annotated[str, typer.Option(help="The generator whose images to train on.")] = BUILTIN,
    space: Annotated[
        str | None, typer.Option(help=" | ".join(SPACES.builtin()), show_default="by the latents' size")
    ] = None,
    images: Annotated[int, typer.Option(min=2, help=help_for(WarmStartConfig, "images"))] = IMAGES,
    passes: Annotated[int, typer.Option(min=1, help=help_for(WarmStartConfig, "passes"))] = WarmStartConfig.passes,
    batch: Annotated[int, typer.Option(min=2, help=help_for(WarmStartConfig, "batch"))] = WarmStartConfig.batch,
    seed: Annotated[int, typer.Option(min=0, help=help_for(WarmStartConfig, "seed"))] = WarmStartConfig.seed,
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
    warm_starts = WarmStarts(drawing, shared, WarmStartConfig(images, passes, batch=batch, seed=seed))
    wanted = Architecture(model, 1 if grey else 3, image_size)
    with stop_on_signal() as stop, RunProgress(quiet=False) as progress:
        payload = warm_starts.make(wanted, progress.steps("warm start"), stop.is_set)
    output.print(f"warm start: {warm_starts.file(wanted)}, {len(payload):,} bytes")
    errors.print("next: ktl cloud serve, or ktl edge train --warm-start cloud, with the same generator and space")


@app.command()
def distil(
    teacher: Annotated[str, typer.Option(help="The encoder to learn from, as `ktl encoders` lists them.")],
    out: Annotated[Path, typer.Option(help="Folder for the warm start, figures, the teacher's embeddings and state.")],
    images: Annotated[
        Path | None,
        typer.Option(help="Folder or tar file of unlabelled images.", show_default="generated ones alone"),
    ] = None,
    model: Model = "cnn4",
    image_size: ImageSize = 32,
    grey: Grey = False,
    generator: Annotated[str, typer.Option(help="The generator whose images to learn on, too.")] = BUILTIN,
    count: Annotated[
        int, typer.Option("--count", min=2, help=help_for(EncoderTrainingConfig, "images"))
    ] = EncoderTrainingConfig.images,
    seed: Annotated[int, typer.Option(min=0, help=help_for(EncoderTrainingConfig, "seed"))] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in --out.")] = False,
) -> None:
    """Distil an encoder into an extractor on images without labels; Ctrl-C saves, --resume goes on."""
    from ktl.encoders import load_encoder
    from ktl.generators import load_generator
    from ktl.warm_start.distilled import distil_warm_start

    with stop_on_signal() as stop:
        file = distil_warm_start(
            images,
            out,
            load_encoder(teacher),
            load_generator(generator),
            Architecture(model, 1 if grey else 3, image_size),
            EncoderTrainingConfig(images=count, seed=seed),
            resume=resume,
            on_embedded=lambda count: output.print(f"{count:,} images embedded"),
            on_row=print_row,
            should_stop=stop.is_set,
        )
    if stop.is_set():
        errors.print("stopped; go on with the same command and --resume")
    output.print(
        f"warm start: {file}\nnext: put it into the folder that KTL_WARM_STARTS names; ktl cloud serve offers it"
    )
