"""`ktl bench`: what a model costs on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ktl.errors import UsageError
from ktl.formatting import in_bytes

from .console import errors, output


def bench(
    target: Annotated[Path, typer.Argument(metavar="RUN|MODEL.onnx", help="A run directory, or one exported model.")],
    threads: Annotated[str, typer.Option(help="Numbers of threads, with commas.")] = "1,2",
    batch: Annotated[str, typer.Option(help="Pictures per call, with commas.")] = "1,32",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per row, one per line.")] = False,
) -> None:
    """Time a model from pictures to probabilities: torch beside ONNX Runtime beside int8."""
    from ktl.edge.export.speed import TORCH, bench

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("", "threads", "batch", "p50 ms", "p99 ms", "images/s", "speed-up", "size", "memory"):
        table.add_column(heading, justify="left" if heading == "" else "right", no_wrap=True)
    reference: dict[tuple[int, int], float] = {}  # torch's median, by threads and batch
    with errors.status("timing"):
        for row in bench(target, _counts("--threads", threads), _counts("--batch", batch)):
            if as_json:
                print(json.dumps(asdict(row) | {"throughput": row.throughput}), flush=True)
            if row.runtime == TORCH:
                reference[row.threads, row.batch] = row.latency.p50
            torch = reference.get((row.threads, row.batch))
            table.add_row(
                row.runtime,
                str(row.threads),
                str(row.batch),
                f"{row.latency.p50:.3f}",
                f"{row.latency.p99:.3f}",
                f"{row.throughput:,.0f}",
                "" if torch is None else f"{torch / row.latency.p50:.1f}x",
                in_bytes(row.size),
                in_bytes(row.memory),
            )
    if not as_json:
        output.print(table)


def _counts(option: str, text: str) -> list[int]:
    """ "1,32" -> [1, 32]."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"{option} is {text!r}: give numbers from 1, with commas, such as 1,32")
    return [int(part) for part in parts]
