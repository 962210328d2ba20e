"""`ktl cloud ...`: serve generated image-vector pairs to many devices, and look after the server's tokens and data."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from ktl.cloud.service.settings import Settings, load_settings
from ktl.errors import KtlError
from ktl.files import write_secret

from . import cloud_sessions, cloud_tokens
from .cloud_database import SERVER, Config, DatabaseUrl, needs_extra, opened, setting
from .cloud_engine import serving
from .connection import CaFile, Insecure, TokenFile, access
from .console import errors, exit_code, output
from .settings import with_options

app = typer.Typer(no_args_is_help=True, help="The cloud: serve devices, and look after tokens and data.")
app.add_typer(cloud_tokens.app, name="token")
app.add_typer(cloud_sessions.app, name="session")

Keep = Annotated[str | None, setting("keep")]


@app.command()
@with_options(Settings, SERVER)
def serve(values: dict[str, Any], config: Config = None) -> None:
    """Answer devices over HTTP until Ctrl-C. Without options: on this machine only, with a database file here."""
    _serve(load_settings(values, config))


def _serve(settings: Settings) -> None:
    run = serving(settings.engine)
    files = {scope: _first_token_file(settings.database, scope) for scope in ("admin", "edge")}

    def keep_tokens(tokens: dict[str, str]) -> None:
        for scope, secret in tokens.items():
            write_secret(files[scope], f"{secret}\n")
            output.print(f"first {scope} token: in {files[scope]}")

    def print_url(url: str) -> None:
        file = files["edge"] if files["edge"].is_file() else "FILE"
        output.print(f"listening on {url}\nnext: ktl edge train --cloud {url} --token-file {file}")
        output.file.flush()

    try:
        run(settings, keep_tokens, print_url)
    except KtlError as error:
        if errors.is_terminal:
            raise
        logging.getLogger("ktl.cloud").error("the server cannot run", extra={"reason": str(error)})  # a line as all
        raise typer.Exit(exit_code(error)) from error


def _first_token_file(database: str, scope: str) -> Path:
    """Beside a file of SQLite, else here. Not printed: what a service prints stays in its machine's journal."""
    address = urlsplit(database)
    file = Path(address.path.removeprefix("/"))
    return (file.parent if address.scheme == "sqlite" else Path()) / f"{file.stem or 'ktl-cloud'}.{scope}.token"


@app.command()
def health(
    host: Annotated[str | None, setting("host")] = None,
    port: Annotated[int | None, setting("port")] = None,
    config: Config = None,
) -> None:
    """Ask the server on this machine that has the same settings whether it is ready: exit code 0 or 1."""
    import socket

    import httpx

    settings = load_settings({"host": host, "port": port}, config)
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    try:
        if settings.client_ca is not None:  # it answers only to devices: that it takes a connection must do
            socket.create_connection((here, settings.port), timeout=5).close()
            answer = "it takes connections"
        else:
            url = f"{replace(settings, host=here).url}/readyz"
            asked = httpx.get(url, timeout=5, verify=False, trust_env=False)  # its own certificate may name no loopback
            answer = asked.raise_for_status().json()["status"]
    except (OSError, httpx.HTTPError, ValueError, KeyError) as error:
        raise KtlError(f"the server on {here} port {settings.port} is not ready: {error}") from error
    output.print(answer)


@app.command()
def ping(
    url: Annotated[str, typer.Argument(help="Address of the cloud.")],
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    insecure: Insecure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check from a device that a cloud can be reached, takes the token, and speaks this version's protocol."""
    from ktl.edge.network.ping import ping as ask
    from ktl.edge.network.transport import Transport

    transport = Transport(access(url, token_file, ca_file, patience=0.0, insecure=insecure))
    began = time.perf_counter()
    about = ask(transport)
    milliseconds = round(1000 * (time.perf_counter() - began), 1)
    transport.close()
    if as_json:
        print(json.dumps(about | {"milliseconds": milliseconds}))
        return
    caller, drawing = about["token"], about["generator"]
    output.print(f"{url} answers in {milliseconds:g} ms: ktl {about['release']}, protocol {about['protocols']}")
    output.print(f"the token is {caller['name']!r}, of scope {caller['scope']}")
    output.print(f"generator: {drawing['name']}, {drawing['latent_dim']} latents, licence {drawing['licence']}")


@app.command()
def gc(
    keep: Keep = None,
    database: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Delete old sessions now; the server does so when it starts and once an hour."""
    with needs_extra():
        from ktl.cloud.service.store import Store
    settings = load_settings({"keep": keep, "database": database}, config)
    store = Store(opened(settings))
    deleted = store.collect_garbage(settings.keep)
    output.print(f"{deleted} sessions deleted; {store.stored_bytes():,} bytes are left")
