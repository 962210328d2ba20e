"""Several servers on one PostgreSQL behind nginx; exits with 1 if a promise was broken.

Sessions of two edges, whose every request may come to another server, run to their ends through the client of `ktl`:
undisturbed; while each server is killed (kill -9) in turn; and while each is restarted in turn. The alignment is the
published one, whose state lives on through the rounds. What each session must get is drawn by an embedded cloud.

`throughput` draws large rounds with one server that has one core, and with two that have a core each.

Each run adds its rows to results/service-fleet.jsonl; a table has the latest of each.

Run: python -m benchmarks.service.fleet faults [--servers 3] [--sessions 50] [--rounds 3] [--seed 0]
     python -m benchmarks.service.fleet throughput [--rounds 24] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from sqlalchemy import func, select

from benchmarks.lib.cells import Row, keep
from benchmarks.lib.command_line import out_option
from benchmarks.lib.markdown import markdown
from benchmarks.lib.provenance import provenance
from ktl.cloud.service.database import Database
from ktl.cloud.service.models import DONE, Round, Upload
from ktl.edge.network.transport import Access
from ktl.generators import load_generator
from ktl.wire import SessionRequest
from tests.support.nginx import nginx
from tests.support.postgres import postgres
from tests.support.served import PRELOADED, ServedCloud
from tests.support.tiny import save_tiny_generator
from tests.support.two_edges import drawn_alone, drawn_by

CLASSES = 5
VARIANTS = 5  # different sessions; the others repeat them
REQUEST = SessionRequest(
    num_classes=CLASSES,
    image_size=16,
    channels=3,
    pairs_per_class=20,
    download_bytes=200_000,
    alignment="published",
    image_format="webp",
    seed=0,
    alignment_settings={"epochs": 10},
)
LARGE = replace(
    REQUEST,
    alignment="robust",
    alignment_settings={},
    num_classes=10,
    image_size=32,
    pairs_per_class=100,
    download_bytes=1_400_000,
)
PATIENCE = 120.0  # seconds that a client goes on without any progress


class Fleet:
    """Servers on one database, behind nginx."""

    def __init__(self, folder: Path, generator: Path | str, database: str, count: int, *options: object) -> None:
        self.folder = folder
        self.servers = []
        for number in range(count):
            home = folder / f"server-{number}"
            home.mkdir(parents=True)
            self.servers.append(ServedCloud(home, generator, *options, database=database))
        self.token = next(server.tokens["edge"] for server in self.servers if server.tokens)
        self.url = ""  # of nginx, once it runs

    def done(self) -> Counter[tuple[str, int]]:
        """How often the servers' logs say of each round that it was kept."""
        return Counter(
            (each["session"], each["round"]) for server in self.servers for each in server.logged("round done")
        )


@contextmanager
def fleet(generator: Path | str, count: int, *options: object) -> Iterator[tuple[Fleet, Database]]:
    """On an empty database; nothing is left of it when the block ends."""
    with TemporaryDirectory() as folder, postgres() as url:
        servers = Fleet(Path(folder), generator, url, count, *options)
        (home := Path(folder) / "nginx").mkdir()
        try:
            with nginx(home, *(each.url for each in servers.servers), limited=False, connections=4096) as servers.url:
                yield servers, Database(url)
        finally:
            for server in servers.servers:
                server.stop()


def alone(generator: Path, rounds: int) -> list[list[bytes]]:
    """Each variant's pairs, of an embedded cloud."""
    loaded = load_generator(str(generator))
    return [drawn_alone(loaded, replace(REQUEST, seed=variant), f"{variant}", rounds) for variant in range(VARIANTS)]


def run_session(servers: Fleet, number: int, expected: list[list[bytes]]) -> str:
    """One client's run; what went wrong with it, or nothing."""
    variant = number % VARIANTS
    run = servers.folder / f"run-{number}-{time.monotonic_ns()}"
    access = Access(url=servers.url, token=servers.token, patience=PATIENCE)
    try:
        pairs = drawn_by(access, run, replace(REQUEST, seed=variant), f"{variant}", len(expected[variant]))
        if pairs != expected[variant]:
            return f"session {number} got other pairs"
    except Exception as error:  # whatever ends a run is what is looked for
        return f"session {number}: {type(error).__name__}: {error}"
    return ""


def disturbed(servers: Fleet, disturb: Callable[[ServedCloud], None], over: threading.Event, seed: int) -> int:
    """Disturbs one server after the other until the sessions are over; how often."""
    rng, count = random.Random(seed), 0
    while not over.wait(rng.uniform(0.2, 1.0)):
        disturb(servers.servers[count % len(servers.servers)])
        count += 1
    return count


def kill(server: ServedCloud) -> None:
    server.kill()
    server.start()


def restart(server: ServedCloud) -> None:
    if (code := server.stop()) != 0:
        raise RuntimeError(f"a server ended with {code}")
    server.start()


PHASES: dict[str, Callable[[ServedCloud], None] | None] = {
    "undisturbed": None,
    "each server killed in turn": kill,
    "each server restarted in turn": restart,
}


def faults(args: argparse.Namespace) -> list[str]:
    """All phases on one fleet each; what was broken."""
    broken: list[str] = []
    with TemporaryDirectory() as folder:
        generator = save_tiny_generator(Path(folder) / "tiny.safetensors")
        expected = alone(generator, args.rounds)
        for phase, disturb in PHASES.items():
            with fleet(generator, args.servers, "--rate", 100_000) as (servers, database):
                broken += endure(args, phase, disturb, servers, database, expected)
    return broken


def endure(
    args: argparse.Namespace,
    phase: str,
    disturb: Callable[[ServedCloud], None] | None,
    servers: Fleet,
    database: Database,
    expected: list[list[bytes]],
) -> list[str]:
    began, over = time.monotonic(), threading.Event()
    with ThreadPoolExecutor(args.at_once) as clients, ThreadPoolExecutor(1) as other:
        faults = other.submit(disturbed, servers, disturb, over, args.seed) if disturb else None
        ended = list(clients.map(lambda number: run_session(servers, number, expected), range(args.sessions)))
        over.set()
        count = faults.result() if faults else 0
    failed = [problem for problem in ended if problem]
    kept, rounds = servers.done(), args.sessions * args.rounds
    twice = [job for job, times in kept.items() if times > 1]
    row = {"phase": phase, "servers": len(servers.servers), "sessions": args.sessions, "rounds": rounds}
    row |= {"faults": count, "seconds": time.monotonic() - began, "failed": len(failed), "twice": len(twice)}
    keep(args.out, row | provenance())
    print(f"{phase}: {len(failed)} of {args.sessions} sessions failed, {len(twice)} rounds were kept twice", flush=True)
    with database.read() as rows:
        done = rows.scalar(select(func.count()).where(Round.state == DONE))
        sent = rows.scalar(select(func.count()).select_from(Upload))
    if not failed and (done, sent) != (rounds, 2 * rounds):
        failed.append(f"{done} of {rounds} rounds are done, {sent} of {2 * rounds} uploads are there")
    return [f"{phase}: {problem}" for problem in (*failed, *(f"{job} was kept twice" for job in twice))]


def throughput(args: argparse.Namespace) -> list[str]:
    """Rounds a second of one pinned server and of two."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(args.repeats):
        for count, measured in rates.items():
            with fleet("builtin", count, "--rate", 100_000, "--jobs", 4) as (servers, _):
                for core, server in enumerate(servers.servers):
                    pin(server.pid, core)
                run_large(servers, 4, "warm")
                began = time.monotonic()
                run_large(servers, args.rounds, "measured")
                measured.append(args.rounds / (time.monotonic() - began))
            row = {"pinned": count, "repeat": repeat, "rounds": args.rounds, "rate": measured[-1]}
            keep(args.out, row | provenance())
    gains = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    print(f"two servers draw {', '.join(f'{gain:.2f}' for gain in gains)} times the rounds of one")
    return [] if sorted(gains)[len(gains) // 2] >= 1.7 else ["two servers draw less than 1.7 times the rounds of one"]


def pin(process: int, core: int) -> None:
    """To one core, with all of its threads."""
    for thread in os.listdir(f"/proc/{process}/task"):
        os.sched_setaffinity(int(thread), {core})


def run_large(servers: Fleet, count: int, name: str) -> None:
    """So many sessions of one round, eight at a time."""

    def one(number: int) -> None:
        access = Access(url=servers.url, token=servers.token, patience=PATIENCE)
        drawn_by(access, servers.folder / f"{name}-{number}", replace(LARGE, seed=number), f"{number}", rounds=1)

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(one, range(count)))


def survived(rows: Sequence[Row]) -> str:
    """Sessions beside kills and restarts: the latest of each number of servers and phase."""
    latest = {(row["servers"], row["phase"]): row for row in rows if "phase" in row}
    names = ("servers", "phase", "sessions", "rounds", "faults", "seconds", "failed", "twice")
    lines = [[f"{row[name]:.0f}" if name == "seconds" else row[name] for name in names] for row in latest.values()]
    columns = ["servers", "phase", "sessions", "rounds", "kills or restarts", "seconds", "failed runs"]
    return markdown([*columns, "rounds kept twice"], lines)


def rates(rows: Sequence[Row]) -> str:
    """Rounds per second of one pinned server and of two: the latest of each repeat."""
    latest = {(row["pinned"], row["repeat"]): row for row in rows if "pinned" in row}
    repeats = sorted({repeat for _, repeat in latest})
    lines = []
    for repeat in repeats:
        one, two = (latest[count, repeat]["rate"] for count in (1, 2))
        lines.append([repeat + 1, latest[1, repeat]["rounds"], f"{one:.2f}", f"{two:.2f}", f"{two / one:.2f}"])
    return markdown(["run", "rounds", "one server, rounds per second", "two servers", "times"], lines)


TABLES = {"survived": survived, "rates": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    endured = commands.add_parser("faults")
    endured.add_argument("--servers", type=int, default=3)
    endured.add_argument("--sessions", type=int, default=50)
    endured.add_argument("--rounds", type=int, default=3)
    endured.add_argument("--at-once", type=int, default=8, help="sessions that run at the same time")
    endured.add_argument("--seed", type=int, default=0, help="of the moments of the faults")
    measured = commands.add_parser("throughput")
    measured.add_argument("--rounds", type=int, default=24)
    measured.add_argument("--repeats", type=int, default=3)
    for command in (endured, measured):
        out_option(command, "service/fleet")
    args = parser.parse_args()
    torch.set_num_threads(1)
    PRELOADED.append("torch._dynamo")  # what an optimizer's first step imports, in seconds: servers start often here
    broken = (faults if args.command == "faults" else throughput)(args)
    print("\n".join(f"BROKEN: {each}" for each in broken[:20]) or "every promise kept")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
