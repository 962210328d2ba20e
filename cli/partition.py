"""`ktl partition ...`: how a data set is shared out to the clients of a federation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ktl.data.settings import DataConfig, PartitionConfig
from ktl.settings import help_for

from .console import output

app = typer.Typer(no_args_is_help=True, help="Share a data set out to clients: look at it, save it.")

Data = Annotated[str, typer.Option(help="A data set's name, a folder, or an .npz file; or a saved partition's folder.")]
Kind = Annotated[str, typer.Option("--partition", help=help_for(PartitionConfig, "kind"))]
Clients = Annotated[int, typer.Option(help=help_for(PartitionConfig, "clients"))]
Beta = Annotated[float, typer.Option(help=help_for(PartitionConfig, "beta"))]
ClassesPerClient = Annotated[int, typer.Option(help=help_for(PartitionConfig, "classes_per_client"))]
Shots = Annotated[int, typer.Option(help=help_for(PartitionConfig, "shots"))]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]


def partition_config(kind: Any, clients: int, beta: float, classes_per_client: int, shots: int) -> PartitionConfig:
    """What the options say; `kind` is any text of the command line. Raises UsageError for a value out of bounds."""
    return PartitionConfig(kind, clients, beta, classes_per_client, shots)


@app.command()
def show(
    data: Data = DataConfig.source,
    partition: Kind = PartitionConfig.kind,
    clients: Clients = PartitionConfig.clients,
    beta: Beta = PartitionConfig.beta,
    classes_per_client: ClassesPerClient = PartitionConfig.classes_per_client,
    shots: Shots = PartitionConfig.shots,
    seed: Seed = 0,
) -> None:
    """Draw classes by clients: one line per class, one column per client, darker for more images."""
    from ktl.data.partition import classes_by_clients
    from ktl.federation.run import federated_data

    options = partition_config(partition, clients, beta, classes_per_client, shots)
    shared = federated_data(data, None, options, seed)
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
def save(
    out: Annotated[Path, typer.Argument(help="An empty or new folder.")],
    data: Data = DataConfig.source,
    partition: Kind = PartitionConfig.kind,
    clients: Clients = PartitionConfig.clients,
    beta: Beta = PartitionConfig.beta,
    classes_per_client: ClassesPerClient = PartitionConfig.classes_per_client,
    shots: Shots = PartitionConfig.shots,
    seed: Seed = 0,
    public: Annotated[
        bool, typer.Option("--public", help="In the public benchmarks' layout, data = {x, y}, instead of plain arrays.")
    ] = False,
) -> None:
    """Write train/0.npz, test/0.npz ...: `ktl federate --data FOLDER` reads them."""
    from ktl.data.partition_files import save_partition
    from ktl.federation.run import federated_data

    options = partition_config(partition, clients, beta, classes_per_client, shots)
    save_partition(federated_data(data, None, options, seed), out, public=public)
    output.print(f"saved: {out}\nnext: ktl federate --data {out}")
