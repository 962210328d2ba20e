"""`ktl partition ...`: how a data set is shared out to the clients of a federation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ktl.data.settings import DataConfig, PartitionConfig

from .console import output
from .settings import Option, with_options

app = typer.Typer(no_args_is_help=True, help="Share a data set out to clients: look at it, save it.")

Data = Annotated[str, typer.Option(help="A data set's name, a folder, or an .npz file; or a saved partition's folder.")]
SkipDamaged = Annotated[bool, typer.Option("--skip-damaged", help="Leave unreadable files of a folder out.")]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]
OPTIONS = {"partition": Option("kind")} | {
    name: Option(name) for name in ("clients", "beta", "classes_per_client", "shots")
}


@app.command()
@with_options(PartitionConfig, OPTIONS)
def show(
    values: dict[str, Any], data: Data = DataConfig.source, seed: Seed = 0, skip_damaged: SkipDamaged = False
) -> None:
    """Draw classes by clients: one line per class, one column per client, darker for more images."""
    from ktl.data.partition import classes_by_clients
    from ktl.federation.run import federated_data

    shared = federated_data(data, None, PartitionConfig(**values), seed, skip_damaged=skip_damaged)
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
    public: Annotated[
        bool, typer.Option("--public", help="In the public benchmarks' layout, data = {x, y}, instead of plain arrays.")
    ] = False,
) -> None:
    """Write train/0.npz, test/0.npz ...: `ktl federate --data FOLDER` reads them."""
    from ktl.data.partition_files import save_partition
    from ktl.federation.run import federated_data

    save_partition(
        federated_data(data, None, PartitionConfig(**values), seed, skip_damaged=skip_damaged), out, public=public
    )
    output.print(f"saved: {out}\nnext: ktl federate --data {out}")
