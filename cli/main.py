"""The console script: its command groups, and how errors leave it."""

from __future__ import annotations

import atexit
import io
import os
import sys
import traceback
import warnings
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from ktl.errors import KtlError

from . import bench, catalogue, cloud, edge, encoder, export, federate, generator, partition, report, warm_start
from .console import errors, exit_code, remarks

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train tiny image classifiers from a handful of labelled images, with the help of a cloud's image generator.",
)
app.add_typer(edge.app, name="edge")
app.add_typer(generator.app, name="generator")
app.add_typer(encoder.app, name="encoder")
app.add_typer(cloud.app, name="cloud")
app.add_typer(warm_start.app, name="warm-start")
app.command("export")(export.export)
app.command("bench")(bench.bench)
app.command("report")(report.report)
app.add_typer(partition.app, name="partition")
app.command("federate")(federate.federate)
catalogue.add_listings(app)

_debug = False


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"ktl {version('ktl')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""
    global _debug
    _debug = debug


def script() -> NoReturn:
    """The console script: `main`, and an end that does not unload libraries one by one.

    To unload torch's CUDA build, 120 MB of it are read, more than any training takes, and the system frees all anyway.
    """
    code: Any = 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a file's name that is no text comes out as its bytes; a letter that Windows' old encodings lack is escaped
        utf8 = sys.stdout.encoding.lower() == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads on, or it is closed
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 2 usage, 130 interrupted (state saved), 1 any other failure."""
    # read when torch loads: threads that wait by spinning make training 7 times slower beside other work on two cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not (sys.warnoptions or _debug):
        warnings.simplefilter("ignore")  # libraries': they say nothing to a user, who gets ktl's own lines
    try:
        with remarks():
            app(prog_name="ktl")
    except Exception as error:
        if _debug:
            traceback.print_exc()
        known = isinstance(error, KtlError)
        text = str(error) if known else f"unexpected {type(error).__name__}: {error}; --debug shows where"
        errors.print("error:", style="red", end=" ")
        errors.print(" ".join(text.splitlines()))
        sys.exit(exit_code(error))
