"""Options of a cloud on another machine, and the connection that they make."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ktl.errors import CloudError, UsageError

from .console import errors

if TYPE_CHECKING:
    from ktl.edge.network.transport import Access
    from ktl.loop.connection import CloudConnection

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


@contextmanager
def session_ending_with(cloud: CloudConnection, had_ended: bool, keep: bool = False) -> Iterator[None]:
    """A cloud elsewhere forgets the run's session after a training inside: it would keep what it holds for days.

    had_ended: the run was finished before, and its session is no longer asked for.
    """
    from ktl.edge.network.http import HttpCloud

    yield
    if isinstance(cloud, HttpCloud) and not had_ended and not keep:
        try:
            cloud.delete_session()
        except CloudError as error:  # the run is complete all the same
            errors.print(f"its session was left on the cloud: {error}")


def access(url: str, token_file: Path | None, ca_file: Path | None, patience: float, insecure: bool) -> Access:
    """Where the cloud is and the token for it. Raises UsageError for an address or a token that cannot be one."""
    from ktl.edge.network.transport import Access, read_token

    token = os.environ.get(TOKEN_VARIABLE, "").strip() if token_file is None else read_token(token_file)
    if not token:
        raise UsageError(f"{url} needs a token: give --token-file FILE or set {TOKEN_VARIABLE}")
    client_cert = os.environ.get(CLIENT_CERT_VARIABLE)
    return Access(url, token, ca_file, patience, insecure, Path(client_cert) if client_cert else None)
