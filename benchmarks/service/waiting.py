"""Many edges that wait for their round beside uploads at a steady pace; exits with 1 if a promise was broken.

The edges are gateways' (one token speaks for fifty of them), each with a connection of its own, and ask again when
the server says "not yet". Measured: the server's memory for each, and how long the uploads take to be acknowledged: a
row of results/service-waiting.jsonl.

Run: python -m benchmarks.service.waiting [--edges 10000] [--arrivals 100] [--pace 50] [--seconds 600] [--wait 600]
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.lib.cells import Row, keep
from benchmarks.lib.command_line import out_option
from benchmarks.lib.markdown import markdown
from benchmarks.lib.provenance import provenance
from benchmarks.service.edges import MODEST, Edge, connected, prototypes, request_head
from benchmarks.service.limited import memory_of
from ktl.cloud.service.database import Database
from ktl.cloud.service.tokens import Tokens
from tests.support.served import ServedCloud

OF_ONE_TOKEN = 50
MAX_GROWTH = 100_000  # bytes an edge
MAX_P99 = 0.25  # seconds
UPLOADERS = 20
SESSIONS = 10  # of each: a round begins when a thousand edges are in
PAYLOAD = prototypes(MODEST.num_classes)


class Waiting:
    """Edges that wait, and what they were told."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.statuses: Counter[int] = Counter()

    async def edge(self, head: bytes, after: float) -> None:
        """Asks again and again on one connection from `after` seconds on, until it is cancelled."""
        await asyncio.sleep(after)
        reader, writer = await connected(self.url)
        while True:
            writer.write(head)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
            status = int(answer.split()[1])
            fields = dict(line.lower().split(": ", 1) for line in answer.splitlines()[1:] if line)
            await reader.readexactly(int(fields["content-length"]))
            self.statuses[status] += 1
            if status != 202:
                await asyncio.sleep(float(fields["retry-after"]))


@dataclass
class Uploads:
    """Uploads of new edges at a steady pace, in sessions whose rounds never begin: (token, session) each."""

    url: str
    sessions: list[tuple[str, str]]
    pace: float

    async def acknowledged(self, seconds: float, name: str) -> list[float]:
        """Seconds of each upload, sent at its time whatever became of those before; infinite for one refused."""
        uploads = (self._upload(number, f"{name}-{number}") for number in range(int(self.pace * seconds)))
        return list(await asyncio.gather(*uploads))

    async def _upload(self, number: int, edge: str) -> float:
        await asyncio.sleep(number / self.pace)
        token, session = self.sessions[number % len(self.sessions)]
        more = ["Content-Type: application/vnd.ktl.v1+safetensors", f"Content-Length: {len(PAYLOAD)}"]
        head = request_head(self.url, "PUT", f"{session}/rounds/1/prototypes/{edge}", token, *more)
        began = time.perf_counter()
        reader, writer = await connected(self.url)
        writer.write(head + PAYLOAD)
        answer = await reader.readuntil(b"\r\n")
        taken = time.perf_counter() - began
        with suppress(OSError):
            writer.close()
        return taken if b" 201 " in answer else float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=10_000)
    parser.add_argument("--pace", type=float, default=50.0, help="uploads per second")
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="of uploads, once all edges wait: each edge asks again meanwhile"
    )
    parser.add_argument("--arrivals", type=float, default=100.0, help="edges that come per second")
    parser.add_argument("--settle", type=float, default=20.0, help="seconds from the last edge to the uploads")
    parser.add_argument("--wait", type=int, default=600, help="seconds that an edge asks the server to wait")
    out_option(parser, "service/waiting")
    args = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with TemporaryDirectory() as folder:
        cloud = ServedCloud(Path(folder), "builtin")
        tokens = Tokens(Database(cloud.database))
        gateways = [tokens.create(f"gateway-{i}", "edge") for i in range(-(-args.edges // OF_ONE_TOKEN))]
        uploaders = [tokens.create(f"uploader-{i}", "edge") for i in range(UPLOADERS)]
        row = asyncio.run(measured(cloud, args, gateways, uploaders))
        cloud.stop()
    row |= {name: getattr(args, name) for name in ("edges", "wait", "arrivals", "pace")}
    keep(args.out, row | provenance())
    print(table([row]))
    sys.exit(1 if row["memory"] > MAX_GROWTH or row["beside"][1] > MAX_P99 or row["failed"] > 0 else 0)


async def measured(cloud: ServedCloud, args: argparse.Namespace, gateways: list[str], uploaders: list[str]) -> Row:
    """`memory`: bytes for each edge; median and p99 of acknowledgements in seconds, `alone` and `beside` the edges."""
    heads = []
    for token in gateways:
        session = Edge(cloud.url, token).open(MODEST, quorum=1000).headers["location"]
        heads.append(request_head(cloud.url, "GET", f"{session}/rounds/1/pairs?wait={args.wait}", token))
    sessions = [
        (token, Edge(cloud.url, token).open(MODEST, quorum=1000).headers["location"])
        for _ in range(SESSIONS)
        for token in uploaders
    ]
    uploads = Uploads(cloud.url, sessions, args.pace)
    alone = await uploads.acknowledged(args.seconds / 40, "a")
    before = memory_of(cloud.pid, "VmRSS")
    waiting = Waiting(cloud.url)
    edges = [asyncio.create_task(waiting.edge(heads[i // OF_ONE_TOKEN], i / args.arrivals)) for i in range(args.edges)]
    await asyncio.sleep(args.edges / args.arrivals + args.settle)
    beside = await uploads.acknowledged(args.seconds, "b")
    growth = (memory_of(cloud.pid, "VmRSS") - before) / args.edges
    for edge in edges:
        edge.cancel()
    failed = sum(isinstance(each, Exception) for each in await asyncio.gather(*edges, return_exceptions=True))
    answers = {str(status): count for status, count in waiting.statuses.items()}
    told: Row = {"uploads": len(beside), "answers": answers, "failed": failed, "memory": growth}
    return told | {"alone": _median_and_p99(alone), "beside": _median_and_p99(beside)}


def _median_and_p99(seconds: list[float]) -> list[float]:
    return [float(each) for each in np.percentile(seconds, (50, 99))]


def table(rows: Sequence[Row]) -> str:
    """A line per run."""
    columns = ["waiting edges", "each asks for, s", "kB each", "broken off", '"not yet", refused', "uploads"]
    lines = []
    for row in rows:
        answers = dict(row["answers"])
        answered = f"{answers.pop('202', 0):,}, {sum(answers.values()):,}"
        uploads = f"{row['uploads']:,} at {row['pace']:g} per second"
        times = [f"{1000 * row[name][0]:.0f} and {1000 * row[name][1]:.0f}" for name in ("alone", "beside")]
        memory = f"{row['memory'] / 1000:.0f}"
        lines.append([f"{row['edges']:,}", row["wait"], memory, row["failed"], answered, uploads, *times])
    return markdown([*columns, "ack alone, ms: median and p99", "ack beside them, ms"], lines)


TABLES = {"all": table}


if __name__ == "__main__":
    main()
