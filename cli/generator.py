"""`ktl generator ...`: look at a generator, draw from it, train one, convert an official one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from ktl.errors import UsageError
from ktl.generators.training.settings import (
    GeneratorTrainingConfig,
    LatentFlowTrainingConfig,
    ProjectedConfig,
    RelativisticConfig,
)
from ktl.settings import help_for

from .console import errors, output, stop_on_signal

if TYPE_CHECKING:
    from torch import Tensor

app = typer.Typer(no_args_is_help=True, help="The cloud's image generator: show, sample, train, convert.")

Source = Annotated[
    str,
    typer.Argument(
        help="'builtin', 'latent-flow', a .safetensors that ktl wrote, an official .pkl or .npz, pool:FOLDER_OR_TAR, "
        "or module:Class."
    ),
]
Seed = Annotated[int, typer.Option(help=help_for(GeneratorTrainingConfig, "seed"))]
DiscriminatorFeatures = Annotated[
    str | None,
    typer.Option(help="An encoder: the discriminator looks at its feature maps (projected), not at pixels alone."),
]
Augment = Annotated[bool | None, typer.Option(help=help_for(ProjectedConfig, "augment"), show_default="--augment")]
FeatureSize = Annotated[
    int | None,
    typer.Option(help=help_for(ProjectedConfig, "feature_size"), show_default=str(ProjectedConfig.feature_size)),
]
Cooldown = Annotated[
    float | None,
    typer.Option(
        help=help_for(GeneratorTrainingConfig, "cooldown"),
        show_default=f"{GeneratorTrainingConfig.cooldown}; LatentFlow {LatentFlowTrainingConfig.cooldown}",
    ),
]
Count = Annotated[int, typer.Option("--count", min=64, help=help_for(GeneratorTrainingConfig, "images"))]
FAMILIES = "StyleGAN2; or LatentFlow, a decoder of codes and a flow, which needs --features."
Family = Literal["StyleGAN2", "LatentFlow"]


@app.command()
def show(source: Source = "builtin") -> None:
    """Print what a generator is."""
    from ktl.generators import load_generator
    from ktl.generators.base import stock_of

    generator = load_generator(source)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("name", generator.name)
    table.add_row("family", generator.family)
    table.add_row("image size", f"{generator.image_size} x {generator.image_size}")
    table.add_row("noise", f"{generator.noise_dim} numbers")
    table.add_row("latent", f"{generator.latent_dim} numbers")
    if classes := getattr(generator, "classes", 0):  # of a network; the noise holds a number for each
        table.add_row("classes", f"{classes}")
    if stock := stock_of(generator):
        table.add_row("images", f"{stock:,}")
    table.add_row("parameters", f"{generator.parameters:,}")
    note = ": many releases forbid commercial use, so look it up" if generator.licence == "not stated" else ""
    table.add_row("licence", f"{generator.licence}{note}")
    table.add_row("fingerprint", generator.fingerprint)
    output.print(table)


@app.command()
def sample(
    source: Source = "builtin",
    out: Annotated[Path | None, typer.Option(help="PNG file to write; samples.png if there is no --npy.")] = None,
    rows: Annotated[int, typer.Option(min=1, max=100, help="Rows of the picture, without --z.")] = 8,
    columns: Annotated[int, typer.Option(min=1, max=100, help="Columns of the picture.")] = 8,
    seed: Seed = 0,
    z: Annotated[Path | None, typer.Option("--z", help=".npy of the noise to draw from, (n, z_dim).")] = None,
    classes: Annotated[Path | None, typer.Option(help=".npy of the class of each row: numbers or one-hot.")] = None,
    truncation: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="How far from the mean latent, with --z: 1 as trained, 0 the mean.")
    ] = 1.0,
    npy: Annotated[Path | None, typer.Option(help=".npy to write: float32 (n, 3, h, w) in about [-1, 1].")] = None,
    products: Annotated[
        str, typer.Option(help="Precision of a network's convolutions; bfloat16 is a level or two off.")
    ] = "float32",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network first: a minute or more, then faster.")
    ] = False,
) -> None:
    """Draw images into one picture: from fresh latents, or from the noise in --z as exactly as the official code."""
    if out is None and npy is None:
        out = Path("samples.png")
    if z is None:
        if classes or npy or truncation != 1.0:
            raise UsageError("--classes, --truncation and --npy go with --z: give the noise to draw from")
        from ktl.generators import load_generator
        from ktl.generators.samples import sample_grid

        assert out is not None
        generator = load_generator(source, products=products, compiled=compiled)
        sample_grid(generator, rows=rows, columns=columns, seed=seed).save(out, "PNG")
        output.print(f"{rows * columns} images: {out}")
    elif compiled or products != "float32":
        raise UsageError("--z draws exactly, in float32: leave out --products and --compile")
    else:
        _write(_drawn(source, z, classes, truncation), npy, out, columns)


def _write(images: Tensor, npy: Path | None, out: Path | None, columns: int) -> None:
    from ktl.generators.arrays import write_array
    from ktl.generators.network import as_pixels
    from ktl.generators.samples import grid

    if npy:
        write_array(npy, images)
        output.print(f"{len(images)} images, float32: {npy}")
    if out:
        grid(as_pixels(images), columns).save(out, "PNG")
        output.print(f"{len(images)} images: {out}")


def _drawn(source: str, z: Path, classes: Path | None, truncation: float) -> Tensor:
    from ktl.generators import load_generator
    from ktl.generators.arrays import read_classes, read_noise
    from ktl.generators.network import NetworkGenerator

    generator = load_generator(source)
    if not isinstance(generator, NetworkGenerator):
        raise UsageError(f"--z is the noise of a StyleGAN or a LatentFlow, but {source} is a {generator.family}")
    noise = read_noise(z, generator.z_dim)
    if bool(generator.classes) != bool(classes):
        needed = (
            f"{generator.classes} classes: give --classes" if generator.classes else "no classes: leave --classes out"
        )
        raise UsageError(f"{source} has {needed}")
    labels = read_classes(classes, len(noise), generator.classes) if classes else None
    return generator.raw_images(generator.mapped(noise, labels, truncation))


@app.command()
def quality(
    images: Annotated[Path, typer.Option(help="A folder or tar file of real images.")],
    source: Source = "builtin",
    features: Annotated[
        str | None, typer.Option(help="An encoder to compare by; a fixed random network if none.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Tell how near a generator's images come to real ones."""
    import torch

    from ktl.data.collection import read_collection
    from ktl.encoders import load_encoder
    from ktl.generators import load_generator
    from ktl.generators.training.quality import measure_quality, random_features

    generator = load_generator(source)
    real = torch.from_numpy(read_collection(images, generator.image_size)).permute(0, 3, 1, 2)
    by = random_features if features is None else load_encoder(features).embed
    for name, value in asdict(measure_quality(generator, real, seed, by)).items():
        output.print(f"{name} {value:.3f}")


@app.command()
def train(
    images: Annotated[Path, typer.Option(help="Folder or tar file of unlabelled images.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights, figures, sample grid and state.")],
    family: Annotated[Family, typer.Option(help=FAMILIES)] = "StyleGAN2",
    count: Count = GeneratorTrainingConfig.images,
    size: Annotated[int, typer.Option(help="Pixels: 16, 32, 64 or 128.")] = 32,
    features: DiscriminatorFeatures = None,
    feature_size: FeatureSize = None,
    augment: Augment = None,
    cooldown: Cooldown = None,
    start: Annotated[str | None, typer.Option(help="A StyleGAN2 whose weights to begin with, as 'builtin'.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights, kept in the file.")] = "not stated",
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in --out.")] = False,
) -> None:
    """Train a generator on unlabelled images; Ctrl-C saves, --resume goes on."""
    from ktl.encoders import load_encoder
    from ktl.generators import load_generator
    from ktl.generators.training.run import train_generator

    said = {"images": count, "cooldown": cooldown, "feature_size": feature_size, "augment": augment}
    config = _training_config(family, features, seed=seed, **said)
    with stop_on_signal() as stop:
        weights = train_generator(
            images,
            out,
            config,
            size=size,
            features=None if features is None else load_encoder(features),
            start=None if start is None else load_generator(start),
            licence=licence,
            resume=resume,
            on_row=_print_row,
            should_stop=stop.is_set,
        )
    if stop.is_set():
        errors.print("stopped; go on with the same command and --resume")
    output.print(f"weights: {weights}\nnext: ktl generator sample {weights}")


def _training_config(
    family: Family, features: str | None, **options: Any
) -> RelativisticConfig | ProjectedConfig | LatentFlowTrainingConfig:
    """The settings of that family's training, all that no option says at their defaults."""
    said = {name: value for name, value in options.items() if value is not None}
    if family == "LatentFlow":
        if features is None:
            raise UsageError("a LatentFlow learns by the features of an encoder: give --features")
        if said.pop("augment", False):
            raise UsageError("--augment changes images, but a LatentFlow learns to draw them as they are: leave it out")
        return LatentFlowTrainingConfig(**said)
    if features is not None:
        return ProjectedConfig(**said)
    if "augment" in said or "feature_size" in said:
        raise UsageError("--augment and --feature-size are for a discriminator that looks through --features: give one")
    return RelativisticConfig(**said)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A .pkl of an official StyleGAN release, or an .npz of its arrays.")],
    out: Annotated[Path, typer.Argument(help="The .safetensors to write.")],
    network: Annotated[str, typer.Option(help="Which of the file's networks: G_ema or G.")] = "G_ema",
    licence: Annotated[str, typer.Option(help="Licence of the weights, kept in the file.")] = "not stated",
) -> None:
    """Convert an official StyleGAN's weights, exactly and without running anything in the file."""
    from ktl.generators.official.convert import convert_official

    if out.suffix != ".safetensors":
        raise UsageError(f"the output {str(out)!r} must end in .safetensors")
    generator = convert_official(source, out, network=network, licence=licence)
    output.print(f"fingerprint: {generator.fingerprint}\nnext: ktl generator sample {out}")


def _print_row(row: dict[str, float]) -> None:
    output.print("  ".join(f"{name} {value:,.3f}".removesuffix(".000") for name, value in row.items()))
