"""`ktl cloud ...`: serve generated image-vector pairs to many devices, and look after the server's tokens and data."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ktl.cloud.service.settings import Settings, default_text, load_settings
from ktl.errors import KtlError
from ktl.settings import help_for

from .connection import CaFile, Insecure, TokenFile, access
from .console import output

if TYPE_CHECKING:
    from ktl.cloud.service.database import Database
    from ktl.cloud.service.tokens import Tokens

app = typer.Typer(no_args_is_help=True, help="The cloud: serve devices, and look after tokens and data.")
token = typer.Typer(no_args_is_help=True, help="The bearer tokens of devices and admins.")
app.add_typer(token, name="token")


def _setting(name: str, *flags: str) -> Any:
    """A server's setting as an option: what it is for and its default are those of the service's `Settings`."""
    return typer.Option(*flags, help=help_for(Settings, name), show_default=default_text(name) or False)


Config = Annotated[Path | None, typer.Option(help="A TOML file of settings; flags and KTL_CLOUD_* come first.")]
DatabaseUrl = Annotated[str | None, _setting("database")]
Keep = Annotated[str | None, _setting("keep")]


@contextmanager
def _needs_extra() -> Iterator[None]:
    """Turns a missing package of the extra into a line that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ktl"):
            raise
        raise KtlError(f"`ktl cloud` needs {error.name}: pip install 'ktl[cloud]'") from error


@app.command()
def serve(
    host: Annotated[str | None, _setting("host")] = None,
    port: Annotated[int | None, _setting("port")] = None,
    database: DatabaseUrl = None,
    generator: Annotated[str | None, _setting("generator")] = None,
    space: Annotated[str | None, _setting("space")] = None,
    products: Annotated[str | None, _setting("products")] = None,
    compile: Annotated[bool | None, _setting("compile", "--compile")] = None,
    threads: Annotated[int | None, _setting("threads")] = None,
    jobs: Annotated[int | None, _setting("jobs")] = None,
    queue: Annotated[int | None, _setting("queue")] = None,
    keep: Keep = None,
    most_stored: Annotated[str | None, _setting("most_stored")] = None,
    most_image_size: Annotated[int | None, _setting("most_image_size")] = None,
    most_download: Annotated[str | None, _setting("most_download")] = None,
    most_warm_start: Annotated[str | None, _setting("most_warm_start")] = None,
    warm_start_images: Annotated[int | None, _setting("warm_start_images")] = None,
    most_quorum: Annotated[int | None, _setting("most_quorum")] = None,
    rate: Annotated[float | None, _setting("rate")] = None,
    tls_cert: Annotated[Path | None, _setting("tls_cert")] = None,
    tls_key: Annotated[Path | None, _setting("tls_key")] = None,
    insecure: Annotated[bool | None, _setting("insecure", "--insecure")] = None,
    log_level: Annotated[str | None, _setting("log_level")] = None,
    stop_seconds: Annotated[float | None, _setting("stop_seconds")] = None,
    config: Config = None,
) -> None:
    """Answer devices over HTTP until Ctrl-C. Without options: on this machine only, with a database file here."""
    flags = {name: value for name, value in locals().items() if name != "config"}
    with _needs_extra():
        from ktl.cloud.service.server import serve as run
    run(load_settings(flags, config), _print_tokens, _print_url)


def _print_tokens(tokens: dict[str, str]) -> None:
    for scope, secret in tokens.items():
        output.print(f"{scope} token, shown this once: {secret}")


def _print_url(url: str) -> None:
    output.print(f"listening on {url}\nnext: ktl edge train --cloud {url} --token-file FILE")
    output.file.flush()


@app.command()
def ping(
    url: Annotated[str, typer.Argument(help="Address of the cloud.")],
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    insecure: Insecure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check from a device that a cloud can be reached, takes the token, and speaks this version's protocol."""
    from ktl.edge.network.http import ping as ask
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
    with _needs_extra():
        from ktl.cloud.service.store import Store
    settings = load_settings({"keep": keep, "database": database}, config)
    store = Store(_opened(settings), max_queued=settings.queue, max_bytes=settings.most_stored)
    deleted = store.collect_garbage(settings.keep)
    output.print(f"{deleted} sessions deleted; {store.stored_bytes():,} bytes are left")


@token.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is. Sessions belong to names: a new token takes them over.")],
    scope: Annotated[
        str, typer.Option(help="edge: its own sessions; admin: all, metrics and the status page.")
    ] = "edge",
    database: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Make a token and print it, this once."""
    output.print(_tokens(database, config).create(name, scope))


@token.command("list")
def list_tokens(
    database: DatabaseUrl = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Print the tokens' ids, names and scopes; their secrets are not known."""
    from datetime import datetime, timezone

    table = Table(box=None, pad_edge=False)
    for heading in ("id", "name", "scope", "created", "revoked"):
        table.add_column(heading)
    for each in _tokens(database, config).all():
        times = [
            "" if at is None else datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="seconds")
            for at in (each.created_at, each.revoked_at)
        ]
        row = [each.id, each.name, each.scope, *times]
        if as_json:
            print(json.dumps(dict(zip(("id", "name", "scope", "created", "revoked"), row, strict=True))))
        table.add_row(*row)
    if not as_json:
        output.print(table)


@token.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="As `ktl cloud token list` shows it.")],
    database: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """End a token; a running server refuses it from its next request on."""
    revoked = _tokens(database, config).revoke(token_id)
    output.print(f"revoked: {revoked.id} ({revoked.name}, {revoked.scope})")


def _tokens(database: str | None, config: Path | None) -> Tokens:
    with _needs_extra():
        from ktl.cloud.service.tokens import Tokens
    return Tokens(_opened(load_settings({"database": database}, config)))


def _opened(settings: Settings) -> Database:
    from ktl.cloud.service.database import Database

    opened = Database(settings.database, new=False)
    opened.check()
    return opened
