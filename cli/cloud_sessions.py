"""`ktl cloud session ...`: sessions of several devices, on a cloud that is asked over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ktl.class_agreement import class_digest, read_class_names
from ktl.errors import UsageError
from ktl.loop.settings import SessionTerms
from ktl.settings import with_values

from .cloud_tokens import seconds_in
from .connection import CaFile, Insecure, TokenFile, access
from .console import output
from .settings import Option, with_options

if TYPE_CHECKING:
    from ktl.edge.network.transport import Transport

PATIENCE = 20.0  # seconds that a cloud which fails is tried again

app = typer.Typer(no_args_is_help=True, help="Sessions in which several devices learn together.")

Cloud = Annotated[str, typer.Option("--cloud", help="Address of the cloud.")]
Session = Annotated[str, typer.Argument(help="The session's name, or its id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


OPTIONS = {
    "rounds": Option("rounds"),
    "image_size": Option("image_size"),
    "grey": Option("grey"),
    "download_budget": Option("download_budget"),
    "pairs_per_class": Option("pairs_per_class", default="what the download holds"),
    "alignment": Option("alignment"),
    "warm_starts": Option("warm_starts"),
    "seed": Option("seed"),
}


@app.command()
@with_options(SessionTerms, OPTIONS)
def create(
    values: dict[str, Any],
    cloud: Cloud,
    name: Annotated[str, typer.Option(help="By which its devices find it.")],
    edges: Annotated[str, typer.Option(help="The names of the devices' tokens, with commas between.")],
    classes: Annotated[Path, typer.Option(help="A text file of the classes' names, one a line. They stay here.")],
    quorum: Annotated[int | None, typer.Option(min=1, help="Devices a round waits for.", show_default="all")] = None,
    deadline: Annotated[
        str, typer.Option(help="After a round's first device, go on without those that are missing; or none.")
    ] = "1h",
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    insecure: Insecure = False,
) -> None:
    """Let several devices learn together: each runs `ktl edge train --cloud URL --session NAME`."""
    from ktl.edge.network.named_sessions import create_session
    from ktl.loop.named_session import request_for

    terms, names = with_values(SessionTerms(), values), read_class_names(classes)
    members = [each.strip() for each in edges.split(",") if each.strip()]
    created = create_session(
        _transport(cloud, token_file, ca_file, insecure),
        request_for(terms, len(names)),
        name=name,
        edges=members,
        quorum=_quorum(quorum, members),
        rounds=terms.rounds,
        deadline=None if deadline == "none" else seconds_in("--deadline", deadline),
        classes=class_digest(names),
    )
    output.print(f"created: {name} ({created}), for {', '.join(members)}")
    output.print(f"next, on each: ktl edge train --cloud {cloud} --token-file FILE --session {name} --data FOLDER")


@app.command("list")
def list_sessions(
    cloud: Cloud,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """Print the sessions that the token sees, newest first: all of them for an admin's."""
    from ktl.edge.network.named_sessions import all_sessions

    found = [*all_sessions(_transport(cloud, token_file, ca_file, insecure))]
    if as_json:
        for session in found:
            print(json.dumps(session))
        return
    table = _table("name", "id", "opened by", "edges", "quorum", "round", "state")
    for session in found:
        last = session["round"] or {"round": 0, "state": "opened"}
        edges = str(len(session["members"]) or 1)
        texts = session["name"] or "", session["id"], session["owner"], edges, str(session["quorum"])
        table.add_row(*texts, _of_rounds(last["round"], session), last["state"])
    output.print(table)


@app.command()
def show(
    session: Session,
    cloud: Cloud,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """Print a session's rounds: which devices took part in each, and which were late."""
    from ktl.edge.network.named_sessions import find_session, rounds_of, standing_in

    transport = _transport(cloud, token_file, ca_file, insecure)
    found = find_session(transport, session)
    rounds = rounds_of(transport, found)
    if as_json:
        print(json.dumps(found | {"rounds_begun": rounds}))
        return
    output.print(f"{found['name'] or found['id']}, of {found['owner']}: {', '.join(found['members'])}")
    table = _table("round", "state", "in", "have pooled", "late")
    for each in rounds:
        standing = standing_in(each)
        lists = [", ".join(names) or "none" for names in (each["edges_in"], standing.edges, standing.late)]
        table.add_row(_of_rounds(each["round"], found), each["state"], *lists)
    output.print(table)


@app.command()
def delete(
    session: Session,
    cloud: Cloud,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    insecure: Insecure = False,
) -> None:
    """Delete a session with all that the cloud holds of it. Who created it may, and an admin."""
    from ktl.edge.network.named_sessions import delete_session, find_session

    transport = _transport(cloud, token_file, ca_file, insecure)
    found = find_session(transport, session)
    delete_session(transport, found["id"])
    output.print(f"deleted: {session} ({found['id']})")


def _quorum(quorum: int | None, members: list[str]) -> int:
    if not members:
        raise UsageError("--edges names no device: give the names of their tokens, with commas between")
    if quorum is not None and quorum > len(members):
        raise UsageError(f"--quorum is {quorum}, and --edges has {len(members)}: give at most as many")
    return quorum or len(members)


def _of_rounds(number: int, session: dict[str, Any]) -> str:
    return f"{number} of {session['rounds']}" if session["rounds"] else str(number)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    return table


def _transport(url: str, token_file: Path | None, ca_file: Path | None, insecure: bool) -> Transport:
    from ktl.edge.network.transport import Transport

    return Transport(access(url, token_file, ca_file, PATIENCE, insecure))
