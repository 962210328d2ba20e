"""How long opening a session takes in an empty store and in a full one; exits with 1 if a promise was broken.

The stored sessions are written as the service writes them, many in a transaction; the openings measured go over HTTP.

Run: python -m benchmarks.service.sessions [--stored 100000] [--openings 400] [--postgres]
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sqlalchemy import insert, select

from benchmarks.service.edges import MODEST, Edge, prototypes
from ktl.cloud.service.accounts import EVERYONE, usage
from ktl.cloud.service.database import Database
from ktl.cloud.service.models import CloudSession, Round, Upload
from ktl.cloud.service.tokens import Tokens
from tests.support.postgres import postgres
from tests.support.served import ServedCloud

MAX_SLOWER = 1.5  # times
OWNERS = 500
AT_ONCE = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stored", type=int, default=100_000)
    parser.add_argument("--openings", type=int, default=400)
    parser.add_argument("--postgres", action="store_true", help="instead of SQLite")
    args = parser.parse_args()
    with TemporaryDirectory() as folder, postgres() if args.postgres else nullcontext(None) as url:
        # what the stored rounds were promised would fill the store
        cloud = ServedCloud(Path(folder), "builtin", "--most-stored", "1TB", database=url)
        database = Database(cloud.database)
        edge = Edge(cloud.url, Tokens(database).create("measured", "edge"))
        empty = opened(edge, args.openings)
        fill(database, edge, args.stored)
        full = opened(edge, args.openings)
        edge.http.delete(edge.open(MODEST).headers["location"])
        cloud.stop()
    slower = float(np.median(full) / np.median(empty))
    for name, times in (("empty", empty), (f"{args.stored:,} sessions", full)):
        median, p99 = 1000 * np.percentile(times, (50, 99))
        print(f"| {name} | {median:.1f} | {p99:.1f} |")
    print(f"{slower:.2f}x (median)")
    sys.exit(1 if slower > MAX_SLOWER else 0)


def opened(edge: Edge, count: int) -> list[float]:
    """Seconds of each opening."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        assert edge.open(MODEST).status_code == 201
        times.append(time.perf_counter() - began)
    return times


def fill(database: Database, edge: Edge, count: int) -> None:
    """Copies of a session in mid-round, of `OWNERS` names."""
    session = edge.open(MODEST, quorum=2).headers["location"]
    edge.upload(session, prototypes(MODEST.num_classes))
    tables = (CloudSession, Round, Upload)
    with database.read() as rows:
        rows_of = [
            dict(rows.execute(select(table.__table__).where(key == session[-32:])).mappings().one())
            for table, key in zip(tables, (CloudSession.id, Round.session_id, Upload.session_id), strict=True)
        ]
    for start in range(0, count, AT_ONCE):
        ids = [secrets.token_hex(16) for _ in range(start, min(start + AT_ONCE, count))]
        with database.write() as rows:
            names = {one: f"owner-{(start + i) % OWNERS}" for i, one in enumerate(ids)}
            own = [{"id": one, "owner": names[one], "idempotency_key": one} for one in ids]
            rows.execute(insert(CloudSession), [rows_of[0] | each for each in own])
            for table, row in zip(tables[1:], rows_of[1:], strict=True):
                rows.execute(insert(table), [row | {"session_id": one} for one in ids])
            for name in [*names.values(), EVERYONE]:
                counted = usage(rows, name)
                counted.sessions += name != EVERYONE
                counted.bytes += rows_of[0]["size"] * (len(ids) if name == EVERYONE else 1)


if __name__ == "__main__":
    main()
