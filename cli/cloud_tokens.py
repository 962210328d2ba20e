"""`ktl cloud token ...`: the bearer tokens of devices and admins, in the database of a server on this machine."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ktl.cloud.service.settings import DURATION, load_settings
from ktl.errors import UsageError
from ktl.files import write_secret

from .cloud_database import Config, DatabaseUrl, needs_extra, opened
from .console import output

if TYPE_CHECKING:
    from ktl.cloud.service.models import Token
    from ktl.cloud.service.tokens import Tokens

app = typer.Typer(no_args_is_help=True, help="The bearer tokens of devices and admins.")

TokenId = Annotated[str, typer.Argument(help="As `ktl cloud token list` shows it.")]


@app.command()
def create(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Who each is for. Sessions belong to names: a new token takes over those of its name."),
    ] = None,
    names_file: Annotated[Path | None, typer.Option(help="A file of further names, one a line; - reads stdin.")] = None,
    scope: Annotated[
        str, typer.Option(help="edge: its own sessions; admin: all and the status page; metrics: /metrics alone.")
    ] = "edge",
    expires: Annotated[str | None, typer.Option(help="End after this, e.g. 90d.", show_default="never")] = None,
    into: Annotated[
        Path | None, typer.Option(help="Write each into NAME.token in this folder, for its owner alone to read.")
    ] = None,
    database: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Make tokens and print them, this once: one alone, several as lines of name and token. All are made, or none."""
    given = [*(names or []), *_names_in(names_file)]
    if not given:
        raise UsageError("no name was given: ktl cloud token create NAME")
    seconds = None if expires is None else seconds_in("--expires", expires)

    def keep(made: dict[str, str]) -> None:
        for name, secret in made.items():
            if into is not None:
                write_secret(_new_file(into, name), f"{secret}\n")

    created = _tokens(database, config).create_all(given, scope, seconds, keep=keep)
    for name, secret in created.items() if into is None else ():
        print(secret if len(created) == 1 else f"{name} {secret}")


@app.command()
def rotate(
    token_id: TokenId,
    grace: Annotated[str, typer.Option(help="How long the old one still works.")] = "1d",
    database: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Print a new token of the same name, scope and length of life; the old one ends after the grace."""
    _, secret = _tokens(database, config).rotate(token_id, seconds_in("--grace", grace))
    print(secret)


@app.command("list")
def list_tokens(
    database: DatabaseUrl = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Print the tokens' ids, names, scopes and times (last use to the minute); their secrets are not known."""
    rows = [_row(each) for each in _tokens(database, config).all()]
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "name", "scope", "created", "used", "expires", "revoked"):
        table.add_column(heading)
    for row in rows:
        table.add_row(*row.values())
    output.print(table)


@app.command()
def revoke(token_id: TokenId, database: DatabaseUrl = None, config: Config = None) -> None:
    """End a token; a running server refuses it from its next request on."""
    revoked = _tokens(database, config).revoke(token_id)
    output.print(f"revoked: {revoked.id} ({revoked.name}, {revoked.scope})")


def _new_file(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.token"
    if file.exists():
        raise UsageError(f"{file} is there already, with a token that would be lost: choose another --into")
    return file


def _names_in(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--names-file {file} cannot be read ({error}); give a file of names, one a line") from error
    return text.split()


def seconds_in(option: str, text: str) -> float:
    try:
        return DURATION.read(text)
    except ValueError as error:
        raise UsageError(f"{option} is {text!r}: {error}") from error


def _row(token: Token) -> dict[str, str]:
    times = {"created": token.created_at, "used": token.used_at, "expires": token.expires_at}
    told = {
        name: "" if at is None else datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="seconds")
        for name, at in (times | {"revoked": token.revoked_at}).items()
    }
    return {"id": token.id, "name": token.name, "scope": token.scope} | told


def _tokens(database: str | None, config: Path | None) -> Tokens:
    with needs_extra():
        from ktl.cloud.service.tokens import Tokens
    return Tokens(opened(load_settings({"database": database}, config)))
