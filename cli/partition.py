"""`ktl partition ...`: how a data set is shared out to the clients of a federation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ktl.data.settings import DataConfig, PartitionConfig
from ktl.settings import with_values

from .console import output
from .settings import Option, with_options

if TYPE_CHECKING:
    from ktl.data.partition import FederatedData

app = typer.Typer(no_args_is_help=True, help="Share a data set out to clients: look at it, save it.")

Data = Annotated[str, typer.Option(help="A data set's name, a folder, or an .npz file; or a saved partition's folder.")]
SkipDamaged = Annotated[bool, typer.Option("--skip-damaged", help="Leave unreadable files of a folder out.")]
FitOption = Annotated[str, typer.Option("--fit", help="crop | pad | stretch: how photographs become square.")]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]
OPTIONS = {"partition": Option("kind")} | {
    name: Option(name) for name in ("clients", "beta", "classes_per_client", "shots")
}


@app.command()
@with_options(PartitionConfig, OPTIONS)
def show(
    values: dict[str, Any],
    data: Data = DataConfig.source,
    seed: Seed = 0,
    skip_damaged: SkipDamaged = False,
    fit: FitOption = DataConfig.fit,
) -> None:
    """Draw classes by clients: one line per class, one column per client, darker for more images."""
    from ktl.data.partition import classes_by_clients

    shared = _shared(values, data, seed, skip_damaged, fit)
    counts = shared.counts()
    width = max(len(name) for name in shared.class_names)
    for name, line in zip(shared.class_names, classes_by_clients(counts), strict=True):
        output.print(f"{name:>{width}} |{line}|")
    images, classes = counts.sum(dim=1), (counts > 0).sum(dim=1)
    output.print(
        f"{len(counts)} clients, {int(counts.sum())} images: {int(images.min())} to {int(images.max())} images "
        f"and {int(classes.min())} to {int(classes.max())} of {counts.shape[1]} classes each; "
        f"most in a cell {counts.max()}"
    )


@app.command()
@with_options(PartitionConfig, OPTIONS)
def save(
    values: dict[str, Any],
    out: Annotated[Path, typer.Argument(help="An empty or new folder.")],
    data: Data = DataConfig.source,
    seed: Seed = 0,
    skip_damaged: SkipDamaged = False,
    fit: FitOption = DataConfig.fit,
    public: Annotated[
        bool, typer.Option("--public", help="In the public benchmarks' layout, data = {x, y}, instead of plain arrays.")
    ] = False,
) -> None:
    """Write train/0.npz, test/0.npz ...: `ktl federate --data FOLDER` reads them."""
    from ktl.data.partition_files import save_partition

    save_partition(_shared(values, data, seed, skip_damaged, fit), out, public=public)
    output.print(f"saved: {out}\nnext: ktl federate --data {out}")


def _shared(values: dict[str, Any], source: str, seed: int, skip_damaged: bool, fit: str) -> FederatedData:
    from ktl.federation.problem import federated_data

    data = with_values(DataConfig(source, skip_damaged=skip_damaged), {"fit": fit})
    partition = PartitionConfig(**values)
    return federated_data(source, None, partition, seed, skip_damaged=data.skip_damaged, fit=data.fit)
