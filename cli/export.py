"""`ktl export`: what leaves for the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ktl.errors import UsageError
from ktl.formatting import in_bytes, in_percent

from .console import MovedData, errors, output

if TYPE_CHECKING:
    from ktl.edge.export.bundle import Bundle, Parity
    from ktl.edge.export.bundle_source import Source
    from ktl.edge.export.quantise import Quantisation


Run = Annotated[
    Path,
    typer.Argument(help="A run directory of `ktl edge train`, of one method of `ktl federate`, or `ktl edge join`'s."),
]


def export(
    run: Run,
    client: Annotated[int | None, typer.Option(help="For a federation: the client to export, from 0.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder, or a file that ends in .zip.", show_default="RUN/bundle, RUN/bundle-client-N"),
    ] = None,
    format_name: Annotated[
        str, typer.Option("--format", help="onnx | torchscript | torch-export | safetensors")
    ] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise, calibrated on generated images; a client on its own images.")
    ] = False,
    max_drop: Annotated[float, typer.Option(min=0.0, help="Most points of accuracy that --int8 may lose.")] = 1.0,
    optimise: Annotated[
        bool, typer.Option("--optimize", help="Store the graph as ONNX Runtime simplifies it.")
    ] = False,
    check: Annotated[bool, typer.Option(help="Compare with torch on the test images.")] = True,
    data: MovedData = None,
) -> None:
    """Write a bundle: the model, its labels, a model card, and a script that needs only ONNX Runtime."""
    from ktl.edge.export.bundle import write_bundle

    bundle = write_bundle(
        run,
        out or run / ("bundle" if client is None else f"bundle-client-{client}"),
        format_name=format_name,
        int8=int8,
        max_drop=max_drop / 100,
        optimise=optimise,
        check=check,
        load=_loader(run, client, data),
    )
    _print_checks(bundle, max_drop)
    output.print(f"bundle: {bundle.out}")
    if format_name == "onnx" and bundle.out.is_dir():
        output.print(f"next: python {bundle.out}/predict.py IMAGE...")
    if bundle.parity is not None and not bundle.parity.holds:
        raise typer.Exit(1)


def _print_checks(bundle: Bundle, max_drop: float) -> None:
    if bundle.missing is not None and (bundle.quantisation or bundle.parity):
        errors.print(f"{bundle.missing}; compared on the pictures that the run keeps")
    if bundle.quantisation is not None:
        _print_quantisation(bundle, bundle.quantisation, max_drop)
    if bundle.parity is not None:
        _print_parity(bundle.parity, "test images" if bundle.missing is None else "kept pictures")


def _loader(run: Path, client: int | None, data: str | None) -> Callable[[Path], Source]:
    """How to read the run: as one edge's, as a federation's client, or as what a device of a fleet keeps."""
    from ktl.edge.export.bundle_source import edge_run
    from ktl.run_folder import is_federation, is_node_folder

    if is_node_folder(run):
        from ktl.federation.client_source import node_client

        if client is not None or data is not None:
            raise UsageError(f"{run} keeps its device's model and images: leave --client and --data out")
        return node_client
    if client is None:
        if is_federation(run):
            raise UsageError(f"{run} is the run of a federation: name one of its clients, as in --client 0")
        return partial(edge_run, data=data)
    from ktl.federation.client_source import federation_client

    return partial(federation_client, client=client, data=data)


def _print_parity(parity: Parity, pictures: str) -> None:
    verdict = "the same model as in torch" if parity.holds else "NOT the same model as in torch"
    agreeing = f"{parity.same_class} of {parity.images} {pictures} in the same class"
    output.print(f"{verdict}: {agreeing}, probabilities at most {parity.largest_difference:.1e} apart")


def _print_quantisation(bundle: Bundle, quantisation: Quantisation, max_drop: float) -> None:
    table = Table(box=None, pad_edge=False)
    measured = "test accuracy" if bundle.missing is None else "float32's class"
    for heading in ("", measured, "size", "one picture, p50", "p99"):
        table.add_column(heading, justify="left" if heading == "" else "right")
    for name, model in (("float32", quantisation.before), ("int8", quantisation.after)):
        latency = model.latency
        times = f"{latency.p50:.3f} ms", f"{latency.p99:.3f} ms"
        table.add_row(name, in_percent(model.accuracy), in_bytes(model.size), *times)
    output.print(table)
    if quantisation.calibration is not None:
        output.print(f"int8, calibrated on {bundle.calibrated_on} by {quantisation.calibration}")
    else:
        drop = 100 * (quantisation.before.accuracy - quantisation.after.accuracy)
        output.print(f"int8 loses {drop:.1f} points, over --max-drop {max_drop:g}: the bundle has the float32 model")
