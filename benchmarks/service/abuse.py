"""What one token can do to a server with 1.5 GiB of memory; exits with 1 if a promise was broken.

Nine attacks, each for a bounded time, on loopback. Beside each one a well-behaved edge goes through a whole session,
and another program asks whether the server is well. Promised: the server is not killed, it says that it is well within
a second, and the session takes at most twice the time that it takes undisturbed, but for the seconds in which there is
no database. What holds the limit is said.

Each attack is a row of results/service-abuse.jsonl; a table has the latest of each.

Run: python -m benchmarks.service.abuse [--attacks 1 3 4] [--seconds 20] [--postgres] [--out FILE]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.lib.cells import Row, keep
from benchmarks.lib.command_line import out_option
from benchmarks.lib.markdown import markdown
from benchmarks.lib.provenance import provenance
from benchmarks.service.attacks import ATTACKS, Target
from benchmarks.service.edges import Edge
from benchmarks.service.limited import LimitedCloud, MemoryLimit, memory_of
from ktl.cloud.service.database import Database
from ktl.cloud.service.tokens import Tokens
from tests.support.postgres import postgres

MEMORY = 3 * 2**29  # bytes
HEALTH_SECONDS = 1.0
SLOWER = 2.0  # times
UNDISTURBED = 3  # sessions, of which the slowest counts: one alone is a matter of luck
ROUNDS = 3
OPTIONS = ["--threads", 1, "--most-stored", "300MB", "--token-stored", "100MB", "--stop-seconds", 10]


@dataclass
class Outcome:
    """What an attack came to."""

    attack: str
    health: float = 0.0  # the worst, in seconds
    session: float = 0.0  # seconds of a well-behaved one, without
    away: float = 0.0  # those in which the database was away
    memory: int = 0  # bytes, the most so far
    broken: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attacks", type=int, nargs="+", default=sorted(ATTACKS), choices=sorted(ATTACKS))
    parser.add_argument("--seconds", type=float, default=20.0, help="of each attack, at least")
    parser.add_argument("--postgres", action="store_true", help="instead of SQLite")
    out_option(parser, "service/abuse")
    args = parser.parse_args()
    limit, rows = MemoryLimit(MEMORY), []
    with TemporaryDirectory() as folder, postgres() if args.postgres else nullcontext(None) as database:
        cloud = LimitedCloud(Path(folder), limit, *OPTIONS, database=database)
        try:
            for row in endure(cloud, args.attacks, args.seconds):
                print(f"{row['attack']}: {'; '.join(row['broken']) or 'every promise kept'}", flush=True)
                rows.append({"database": "PostgreSQL" if args.postgres else "SQLite"} | row | provenance())
                keep(args.out, rows[-1])
        finally:
            cloud.stop()
    print(f"\n{table(rows[0]['database'], rows)}")
    print(f"\nmemory limit: {MEMORY >> 20} MiB, {limit.kind}; killed for it: {limit.kills()}")
    broken = limit.kills() > 0 or any(row["broken"] for row in rows)
    limit.end()
    sys.exit(1 if broken else 0)


def endure(cloud: LimitedCloud, attacks: list[int], seconds: float) -> Iterator[Row]:
    """Every attack after the other, and what it came to."""
    tokens = Tokens(Database(cloud.database))
    honest = Edge(cloud.url, tokens.create("honest", "edge"))
    honest.whole_session(1)  # the first one loads what is loaded once
    undisturbed = max(honest.whole_session(ROUNDS) for _ in range(UNDISTURBED))
    print(f"a session undisturbed: {undisturbed:.1f} s; memory {memory_of(cloud.pid, 'VmRSS') >> 20} MiB\n")
    for number in attacks:
        token = tokens.create(f"attacker-{number}", "edge")
        target = Target(cloud.url, token, cloud.database, cloud.folder, cloud.pid, seconds)
        yield asdict(under(number, target, honest, undisturbed)) | {"undisturbed": undisturbed}


def under(number: int, target: Target, honest: Edge, undisturbed: float, rounds: int = ROUNDS) -> Outcome:
    """One attack, with a well-behaved session beside it."""
    name, attack = ATTACKS[number]
    outcome = Outcome(f"{number}. {name}")
    stop = target.folder / f"stop-{number}"
    command = [sys.executable, str(Path(__file__).with_name("health.py")), target.url, str(stop)]
    prober = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def attacked() -> None:
        try:
            attack(target)
        except Exception as error:
            outcome.broken.append(f"{type(error).__name__}: {error}"[:300])

    attacking = threading.Thread(target=attacked)
    attacking.start()
    time.sleep(min(1.0, target.seconds / 4))
    began = time.monotonic()
    try:
        outcome.session = honest.whole_session(rounds)
    except (RuntimeError, OSError) as error:
        outcome.broken.append(f"the session failed: {error}"[:300])
    ended = time.monotonic()
    attacking.join()
    if target.away:
        outcome.away = max(min(ended, target.away[1]) - max(began, target.away[0]), 0.0)
        outcome.session -= outcome.away
    stop.touch()
    outcome.health = float(prober.communicate()[0].split()[0])
    if not Path(f"/proc/{target.pid}").exists():
        outcome.broken.append("the server is gone")
        return outcome
    outcome.memory = memory_of(target.pid, "VmHWM")
    for kept, promise in (
        (outcome.memory < MEMORY, "too much memory"),
        (outcome.health <= HEALTH_SECONDS, "not well in time"),
        (outcome.session <= SLOWER * undisturbed, "the session took too long"),
    ):
        outcome.broken += [] if kept else [promise]
    return outcome


def table(database: str, rows: Sequence[Row]) -> str:
    """The latest of each attack on a server with this database."""
    latest = {row["attack"]: row for row in rows if row["database"] == database}
    lines = []
    for row in (latest[attack] for attack in sorted(latest)):
        session = f"{row['session']:.1f} ({row['session'] / row['undisturbed']:.1f} times)"
        session += f", and {row['away']:.1f} without a database" if row["away"] else ""
        promises = "; ".join(row["broken"]) or "kept"
        lines.append([row["attack"], f"{row['health']:.2f}", session, row["memory"] >> 20, promises])
    return markdown(["attack", "worst `/healthz`, s", "session beside it, s", "peak, MiB", "promises"], lines)


TABLES = {database: partial(table, database) for database in ("SQLite", "PostgreSQL")}

if __name__ == "__main__":
    main()
