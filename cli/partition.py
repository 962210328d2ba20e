"""`ktl partition ...`: how a data set is shared out to the clients of a federation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ktl.config import DataConfig, PartitionConfig

from .console import output

app = typer.Typer(no_args_is_help=True, help="Share a data set out to clients: look at it, save it.")

Data = Annotated[str, typer.Option(help="A data set's name, a folder, or an .npz file; or a saved partition's folder.")]
Kind = Annotated[str, typer.Option("--partition", help="dirichlet | pathological | iid | shots")]
Clients = Annotated[int, typer.Option(help="How many clients.")]
Beta = Annotated[float, typer.Option(help="Of dirichlet: less is more uneven.")]
ClassesPerClient = Annotated[int, typer.Option(help="Of pathological.")]
Shots = Annotated[int, typer.Option(help="Of shots: training images a class and client.")]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]


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
    """Draw classes by clients: a line a class, a column a client, darker for more images."""
    from ktl.data.partition import classes_by_clients
    from ktl.federation.run import federated_data

    settings = PartitionConfig(partition, clients, beta, classes_per_client, shots)
    shared = federated_data(data, None, settings, seed)
    counts = shared.counts()
    width = max(len(name) for name in shared.class_names)
    for name, line in zip(shared.class_names, classes_by_clients(counts), strict=True):
        output.print(f"{name:>{width}} |{line}|")
    per_client, held = counts.sum(dim=1), (counts > 0).sum(dim=1)
    output.print(
        f"{len(counts)} clients, {int(counts.sum())} images: {int(per_client.min())} to {int(per_client.max())} images "
        f"and {int(held.min())} to {int(held.max())} of {counts.shape[1]} classes each; most in a cell {counts.max()}"
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

    settings = PartitionConfig(partition, clients, beta, classes_per_client, shots)
    save_partition(federated_data(data, None, settings, seed), out, public=public)
    output.print(f"saved: {out}\nnext: ktl federate --data {out}")
