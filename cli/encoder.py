"""`ktl encoder ...`: look at an image encoder, train a small one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ktl.encoders.training.settings import EncoderTrainingConfig
from ktl.settings import help_for

from .console import errors, output, stop_on_signal

app = typer.Typer(no_args_is_help=True, help="The cloud's image encoder: show, train.")

SOURCES = "'builtin', a .safetensors that ktl wrote, torchvision:NAME[?FILE], timm:NAME[?FILE] or module:Class."


@app.command()
def show(source: Annotated[str, typer.Argument(help=SOURCES)] = "builtin") -> None:
    """Print what an encoder is."""
    from ktl.encoders import load_encoder

    encoder = load_encoder(source)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("name", encoder.name)
    table.add_row("images", f"{encoder.image_size} x {encoder.image_size}, scaled from any size")
    table.add_row("embedding", f"{encoder.dimension} numbers")
    table.add_row("licence", encoder.licence)
    table.add_row("fingerprint", encoder.fingerprint)
    output.print(table)


@app.command()
def train(
    images: Annotated[Path, typer.Option(help="Folder or tar file of unlabelled images.")],
    teacher: Annotated[str, typer.Option(help=f"The encoder to learn from: {SOURCES}")],
    out: Annotated[Path, typer.Option(help="Folder for the weights, figures, the teacher's embeddings and state.")],
    generator: Annotated[str, typer.Option(help="The generator whose images to learn on, too.")] = "builtin",
    generated: Annotated[
        int, typer.Option(min=0, help=help_for(EncoderTrainingConfig, "generated"))
    ] = EncoderTrainingConfig.generated,
    count: Annotated[
        int, typer.Option("--count", min=2, help=help_for(EncoderTrainingConfig, "images"))
    ] = EncoderTrainingConfig.images,
    licence: Annotated[str, typer.Option(help="Licence of the weights, kept in the file.")] = "not stated",
    seed: Annotated[int, typer.Option(help=help_for(EncoderTrainingConfig, "seed"))] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in --out.")] = False,
) -> None:
    """Distil a large encoder into a small one on images without labels; Ctrl-C saves, --resume goes on."""
    from ktl.encoders import load_encoder
    from ktl.encoders.training.run import train_encoder
    from ktl.generators import load_generator
    from ktl.generators.base import drawn

    with stop_on_signal() as stop:
        weights = train_encoder(
            images,
            out,
            load_encoder(teacher),
            partial(drawn, load_generator(generator)),
            EncoderTrainingConfig(images=count, generated=generated, seed=seed),
            licence=licence,
            resume=resume,
            on_embedded=lambda count: output.print(f"{count:,} images embedded"),
            on_row=print_row,
            should_stop=stop.is_set,
        )
    if stop.is_set():
        errors.print("stopped; go on with the same command and --resume")
    output.print(f"weights: {weights}\nnext: ktl encoder show {weights}")


def print_row(row: dict[str, float]) -> None:
    """A line of a training's figures."""
    output.print("  ".join(f"{name} {value:,.4g}" for name, value in row.items()))
