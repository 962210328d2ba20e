"""`ktl report`: one page that says whether to trust a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import in_bytes, output


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories of `ktl edge train`; several stand side by side.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The HTML file.", show_default="RUN/report.html; report.html for several")
    ] = None,
) -> None:
    """Write one HTML file that needs no network: accuracy, confidence, mistakes, generated images, settings."""
    from ktl.report.page import write_report

    out = out or (runs[0] / "report.html" if len(runs) == 1 else Path("report.html"))
    write_report(runs, out)
    output.print(f"report: {out} ({in_bytes(out.stat().st_size)})")
