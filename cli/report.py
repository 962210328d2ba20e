"""`ktl report`: one page that says whether to trust a model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from ktl.formatting import in_bytes

from .console import errors, output


def write_report_apart(run: Path) -> Path | None:
    """Makes RUN/report.html in a process of its own: training's memory stays what it was, and a fault costs no run."""
    out = run / "report.html"
    made = subprocess.run([sys.executable, "-m", "ktl.report", out, run], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        reason = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
        errors.print(f"no report was made ({reason}); try: ktl report {run}")
        return None
    return out


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run directories of `ktl edge train` or `ktl federate`; several stand side by side."),
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
