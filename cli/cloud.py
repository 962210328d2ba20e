"""`ktl cloud ...`: serve generated image-vector pairs to many devices, and look after the server's tokens and data."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ktl.errors import KtlError

from .connection import CaFile, Insecure, TokenFile, access
from .console import output

if TYPE_CHECKING:
    from ktl.cloud.service.tokens import Tokens

app = typer.Typer(no_args_is_help=True, help="The cloud: serve devices, and look after tokens and data.")
token = typer.Typer(no_args_is_help=True, help="The bearer tokens of devices and admins.")
app.add_typer(token, name="token")

Config = Annotated[Path | None, typer.Option(help="A TOML file of settings; flags and KTL_CLOUD_* come first.")]
DatabaseUrl = Annotated[
    str | None, typer.Option(help="sqlite:///FILE or postgresql://...", show_default="sqlite:///ktl-cloud.db")
]


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
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free one.", show_default="8765")] = None,
    database: DatabaseUrl = None,
    generator: Annotated[
        str | None, typer.Option(help="'builtin' or a generator file.", show_default="builtin")
    ] = None,
    products: Annotated[
        str | None,
        typer.Option(help="Of a StyleGAN's convolutions; bfloat16 is a level or two off.", show_default="float32"),
    ] = None,
    compile: Annotated[
        bool | None, typer.Option("--compile", help="Compile a StyleGAN at its first images: a minute or more.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of the generator.", show_default="2")] = None,
    jobs: Annotated[int | None, typer.Option(help="Rounds drawn at the same time.", show_default="4")] = None,
    queue: Annotated[int | None, typer.Option(help="Rounds that may wait; then 503.", show_default="256")] = None,
    keep: Annotated[
        str | None, typer.Option(help="Delete sessions that were idle for so long.", show_default="7d")
    ] = None,
    most_stored: Annotated[
        str | None, typer.Option(help="Payload bytes of all sessions; then 503.", show_default="10GB")
    ] = None,
    most_image_size: Annotated[
        int | None, typer.Option(help="Pixels that a session may ask for.", show_default="256")
    ] = None,
    most_download: Annotated[
        str | None, typer.Option(help="Bytes that a round may ask for.", show_default="64MiB")
    ] = None,
    most_quorum: Annotated[int | None, typer.Option(help="Edges of a session.", show_default="1000")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second and token.", show_default="100")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key, PEM.")] = None,
    insecure: Annotated[bool | None, typer.Option("--insecure", help="Allow plain HTTP beyond this machine.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug | info | warning | error", show_default="info")] = None,
    stop_seconds: Annotated[
        float | None, typer.Option(help="For requests to end after SIGTERM.", show_default="20")
    ] = None,
    config: Config = None,
) -> None:
    """Answer devices over HTTP until Ctrl-C. Without options: on this machine only, with a database file here."""
    flags = {name: value for name, value in locals().items() if name != "config"}
    with _needs_extra():
        from ktl.cloud.service.server import serve as run
        from ktl.cloud.service.settings import load_settings
    settings = load_settings(flags, config)

    def show_tokens(tokens: dict[str, str]) -> None:
        for scope, secret in tokens.items():
            output.print(f"{scope} token, shown this once: {secret}")

    def show_url(url: str) -> None:
        output.print(f"listening on {url}\nnext: ktl edge train --cloud {url} --token-file FILE")
        output.file.flush()

    run(settings, show_tokens, show_url)


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
    keep: Annotated[
        str | None, typer.Option(help="Delete sessions that were idle for so long.", show_default="7d")
    ] = None,
    database: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Delete old sessions now; the server does so when it starts and once an hour."""
    with _needs_extra():
        from ktl.cloud.service.database import Database
        from ktl.cloud.service.settings import load_settings
        from ktl.cloud.service.store import Store
    settings = load_settings({"keep": keep, "database": database}, config)
    found = Database(settings.database)
    found.upgrade()
    store = Store(found, max_queued=settings.queue, max_bytes=settings.most_stored)
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
        from ktl.cloud.service.database import Database
        from ktl.cloud.service.settings import load_settings
        from ktl.cloud.service.tokens import Tokens
    found = Database(load_settings({"database": database}, config).database)
    found.upgrade()
    return Tokens(found)
