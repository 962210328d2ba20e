"""`ktl edge join`: this device as a node of a fleet that learns over Flower."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from ktl.class_agreement import read_class_names
from ktl.data import check_apart
from ktl.errors import UsageError

PROGRAM = "flower-supernode"

Superlink = Annotated[str, typer.Option(help="HOST:PORT of the fleet's SuperLink.")]
Client = Annotated[
    int, typer.Option(min=0, help="This device's number in the fleet, from 0: no two may have the same.")
]
Data = Annotated[
    str, typer.Option(help="This device's images: a folder, an .npz file, or a saved partition of one client.")
]
Folder = Annotated[Path, typer.Option(help="Keeps what this device learns, also while it is off.")]
CaFile = Annotated[
    Path | None, typer.Option(help="Certificates that sign the SuperLink's.", show_default="the system's")
]
KeyFile = Annotated[
    Path | None, typer.Option(help="This device's private key, for a SuperLink that asks for one.", show_default="none")
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Without TLS, on a network that is trusted.")]
Classes = Annotated[
    Path | None,
    typer.Option(help="A text file of all the fleet's classes, one a line, where this device has images of some."),
]
OnlySums = Annotated[
    bool, typer.Option("--secure-aggregation", help="Take part in runs alone whose cloud learns sums and no more.")
]


def join(
    context: typer.Context,
    superlink: Superlink,
    client: Client,
    data: Data,
    folder: Folder = Path("ktl-node"),
    classes: Classes = None,
    ca_file: CaFile = None,
    key_file: KeyFile = None,
    insecure: Insecure = False,
    only_sums: OnlySums = False,
) -> None:
    """Take part in a fleet's runs, until stopped. What follows -- goes to flower-supernode as it is."""
    place = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which(PROGRAM, path=place)
    if program is None:
        raise UsageError(f"{PROGRAM} is not installed: pip install 'ktl[flower]'")
    check_apart(data, folder)
    texts = {"data": str(Path(data).absolute()) if Path(data).exists() else data, "folder": str(folder.absolute())}
    if classes is not None:
        read_class_names(classes)  # refuses what is no list of classes before the node starts
        texts["classes"] = str(classes.absolute())
    for name, text in texts.items():
        if '"' in text or "'" in text:
            raise UsageError(f"{name} is {text!r}: Flower takes no quotes in it, rename it")
    command = [program, "--superlink", superlink]
    about = [f"client={client}", f"only-sums={str(only_sums).lower()}", *(f'{n}="{text}"' for n, text in texts.items())]
    command += ["--node-config", " ".join(about)]
    command += ["--insecure"] if insecure else []
    command += [] if ca_file is None else ["--root-certificates", str(ca_file)]
    command += [] if key_file is None else ["--auth-supernode-private-key", str(key_file)]
    # Flower starts its other programs by their names, and its telemetry is off unless the user has it on
    environment = {"FLWR_TELEMETRY_ENABLED": "0"} | os.environ | {"PATH": place}
    sys.stdout.flush()
    os.execve(program, [*command, *context.args], environment)
