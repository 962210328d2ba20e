"""Options of a cloud on another machine, and the connection that they make."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ktl.errors import UsageError

if TYPE_CHECKING:
    from ktl.edge.network.transport import Access

TOKEN_VARIABLE = "KTL_TOKEN"
CLIENT_CERT_VARIABLE = "KTL_CLIENT_CERT"  # a PEM file of a certificate and its key

CloudUrl = Annotated[
    str | None, typer.Option("--cloud", help="Address of a cloud elsewhere.", show_default="a cloud in this process")
]
TokenFile = Annotated[
    Path | None, typer.Option(help="File with the cloud's token.", show_default=f"the variable {TOKEN_VARIABLE}")
]
CaFile = Annotated[
    Path | None, typer.Option(help="PEM file of the authority of the cloud's certificate.", show_default="the system's")
]
Patience = Annotated[float, typer.Option(min=0.0, help="Seconds for which a failing cloud is tried again.")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Send the token over plain HTTP to another machine.")]


def access(url: str, token_file: Path | None, ca_file: Path | None, patience: float, insecure: bool) -> Access:
    """Where the cloud is and the token for it. Raises UsageError for an address or a token that cannot be one."""
    from ktl.edge.network.transport import Access, read_token

    token = os.environ.get(TOKEN_VARIABLE, "").strip() if token_file is None else read_token(token_file)
    if not token:
        raise UsageError(f"{url} needs a token: give --token-file FILE or set {TOKEN_VARIABLE}")
    client_cert = os.environ.get(CLIENT_CERT_VARIABLE)
    return Access(url, token, ca_file, patience, insecure, Path(client_cert) if client_cert else None)
