"""The attacks of `abuse.py`: each is bounded in count and time, and goes to a server on loopback only."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from sqlalchemy import create_engine, text

from benchmarks.service.edges import GREEDY, MODEST, Edge, connected, prototypes, request_head
from ktl.cloud.service.database import Database
from ktl.cloud.service.tokens import Tokens

POLLS = 1150
SOCKETS = 3000
ROUNDS = 40
HANGS = 10.0  # seconds


@dataclass
class Target:
    """A server, and what an attacker has: one valid token. The database is there for faults that are no attack."""

    url: str
    token: str
    database: str
    folder: Path
    pid: int
    seconds: float
    away: list[float] = field(default_factory=list)  # when the database went, and when it came back

    @property
    def edge(self) -> Edge:
        """The attacker, as an edge."""
        return Edge(self.url, self.token)


def large_rounds(target: Target) -> None:
    """1: four sessions that ask for a million pairs; if those are refused, as much as is granted."""
    edge, until = target.edge, time.monotonic() + target.seconds
    largest = replace(GREEDY, pairs_per_class=100)
    while time.monotonic() < until:
        for request in (GREEDY, largest):
            for _ in range(4):
                opened = edge.open(request)
                if opened.status_code == 201:
                    edge.upload(opened.headers["location"], prototypes(request.num_classes))
        time.sleep(1.0)
    _leave_nothing(edge)


def database_fault(target: Target) -> None:
    """2: PostgreSQL is stopped in mid-round and started again; SQLite's file is held by another program."""
    edge = target.edge
    session = edge.open(MODEST).headers["location"]
    edge.upload(session, prototypes(MODEST.num_classes))
    if target.database.startswith("postgresql"):
        with away(target):
            _stop_and_start(target.database)
    else:
        _hold_writer(target, HANGS / 2)
    deadline = time.monotonic() + 60
    while (answer := edge.pairs(session, wait=5)).status_code in (202, 429, 503):
        if time.monotonic() > deadline:
            raise RuntimeError(f"60 s after the fault the round is still {answer.json().get('state')}")


def _stop_and_start(url: str) -> None:
    with create_engine(url.replace("postgresql:", "postgresql+psycopg:")).connect() as connection:
        folder = connection.scalar(text("SHOW data_directory"))
    control = [*_as_owner(folder), str(_program("pg_ctl")), "-D", folder]
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd="/")
    time.sleep(3.0)
    # its options are those of its last start
    command = [*control, "-w", "-l", f"{folder}/../log", "-o", _options(folder), "start"]
    subprocess.run(command, check=True, capture_output=True, cwd="/")


def _program(name: str) -> Path:
    return sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))[-1]


def _as_owner(folder: str) -> list[str]:
    return ["runuser", "-u", Path(folder).owner(), "--"] if os.geteuid() == 0 else []


def _options(folder: str) -> str:
    return " ".join(word.strip('"') for word in Path(folder, "postmaster.opts").read_text().split()[3:])


def _hold_writer(target: Target, seconds: float) -> None:
    """Another program writes to the SQLite file for so long."""
    file = target.database.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection, away(target):
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")


@contextmanager
def away(target: Target) -> Iterator[None]:
    """Notes for how long the database is away: no session can go on meanwhile, attacked or not."""
    target.away.append(time.monotonic())
    try:
        yield
    finally:
        target.away.append(time.monotonic())


def closed_polls(target: Target) -> None:
    """3: long polls whose sockets are closed at once, again and again."""
    edge = target.edge
    session = edge.open(MODEST, quorum=2).headers["location"]
    head = request_head(target.url, "GET", f"{session}/rounds/1/pairs?wait=60", target.token)

    async def poll() -> None:
        with suppress(OSError):
            _, writer = await connected(target.url)
            writer.write(head)
            await writer.drain()
            writer.close()

    _again_and_again(poll, POLLS, target.seconds)


def silent_sockets(target: Target) -> None:
    """4: connections that send half a head or nothing, and stay."""
    half = request_head(target.url, "GET", "/v1")[:-2]

    async def stay(number: int) -> None:
        with suppress(OSError):
            _, writer = await connected(target.url)
            writer.write(half if number % 2 else b"")
            await asyncio.sleep(target.seconds)
            writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(stay(number) for number in range(SOCKETS)))

    asyncio.run(all_of_them())


def many_rounds(target: Target) -> None:
    """5: one token's rounds fill the queue; half of their sessions are deleted at once."""
    edge, until = target.edge, time.monotonic() + target.seconds
    request = replace(MODEST, pairs_per_class=1000, download_bytes=10 * 2**20)
    for number in range(ROUNDS):
        opened = edge.open(request)
        if opened.status_code == 201:
            session = opened.headers["location"]
            edge.upload(session, prototypes(request.num_classes))
            if number % 2:
                edge.http.delete(session)
    time.sleep(max(until - time.monotonic(), 0))
    _leave_nothing(edge)


def much_stored(target: Target) -> None:
    """6: sessions with 400 names each until no more are taken; the disk must not hold more than is allowed."""
    edge, until = target.edge, time.monotonic() + target.seconds
    names = [f"{number:03d}-{'x' * 60}" for number in range(400)]  # of a large fleet: a session names only tokens
    Tokens(Database(target.database)).create_all(names, "edge")
    payload = prototypes(1000, vectors=False)
    request = replace(GREEDY, alignment="random", pairs_per_class=2, download_bytes=2**20)
    while time.monotonic() < until:
        opened = edge.open(request, member=names, quorum=1000)
        if opened.status_code != 201:
            time.sleep(1.0)
            continue
        for number in range(20):
            edge.upload(opened.headers["location"], payload, edge=f"edge-{number}")
    if target.database.startswith("sqlite"):
        held = Path(target.database.removeprefix("sqlite:///")).stat().st_size
        if held > 300e6:
            raise RuntimeError(f"the database holds {held:,} bytes")
    _leave_nothing(edge)


def long_alignments(target: Target) -> None:
    """7: alignments that go on for minutes."""
    edge = target.edge
    settings = {"epochs": 1000, "batch": 2}
    request = replace(MODEST, num_classes=100, alignment="published", alignment_settings=settings)
    for number in range(4):
        session = edge.open(request).headers["location"]
        edge.upload(session, prototypes(request.num_classes, seed=number))
    time.sleep(target.seconds)
    _leave_nothing(edge)


def second_server(target: Target) -> None:
    """8: another server is started on the same database, of SQLite by another name for the file."""
    database = target.database
    if database.startswith("sqlite"):
        link = target.folder / "other.db"
        link.symlink_to(database.removeprefix("sqlite:///"))
        database = f"sqlite:///{link}"
    command = [sys.executable, "-c", "from ktl_cli.main import script; script()", "cloud", "serve", "--port", "0"]
    second = subprocess.Popen([*command, "--database", database], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        status = second.wait(max(target.seconds, 60))
    except subprocess.TimeoutExpired:
        status = 0
        second.kill()
    if status == 0 and target.database.startswith("sqlite"):
        raise RuntimeError("a second server runs on the same file")


def hanging_database(target: Target) -> None:
    """9: PostgreSQL hangs for a while; SQLite's file is held by another program."""
    if target.database.startswith("sqlite"):
        _hold_writer(target, HANGS)
        return
    with create_engine(target.database.replace("postgresql:", "postgresql+psycopg:")).connect() as connection:
        folder = connection.scalar(text("SHOW data_directory"))
    main = psutil.Process(int(Path(folder, "postmaster.pid").read_text().split()[0]))
    hung = [main, *main.children(recursive=True)]
    with away(target):
        for process in hung:
            process.send_signal(signal.SIGSTOP)
        time.sleep(HANGS)
        for process in hung:
            process.send_signal(signal.SIGCONT)


def _again_and_again(once: Callable[[], object], count: int, seconds: float) -> None:
    async def rounds() -> None:
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            await asyncio.gather(*(once() for _ in range(count)))  # type: ignore[arg-type]
            await asyncio.sleep(1.0)

    asyncio.run(rounds())


def _leave_nothing(edge: Edge) -> None:
    """The next attack begins with a server that has nothing to do."""
    while sessions := edge.http.get("/v1/sessions").json().get("sessions"):
        for session in sessions:
            edge.http.delete(f"/v1/sessions/{session['id']}")


ATTACKS: dict[int, tuple[str, Callable[[Target], None]]] = {
    1: ("large rounds", large_rounds),
    2: ("a database that fails", database_fault),
    3: ("long polls that are dropped", closed_polls),
    4: ("silent sockets", silent_sockets),
    5: ("many rounds", many_rounds),
    6: ("much stored", much_stored),
    7: ("long alignments", long_alignments),
    8: ("a second server", second_server),
    9: ("a database that hangs", hanging_database),
}
