"""Many edges against one server on loopback; exits with 1 if a promise was broken.

Three phases: uploads at a steady pace while the generator is idle; 200 edges in one session whose rounds wait for all
of them; 100 sessions of one edge each. Every edge has a token of its own and speaks the protocol as `ktl` does.

Run: python -m benchmarks.service.load [--edges 200] [--sessions 100] [--rounds 2] [--pace 50] [--uploads 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import torch

from benchmarks.service.edges import MODEST, prototypes
from benchmarks.service.limited import memory_of
from ktl.cloud.service.database import Database
from ktl.cloud.service.tokens import Tokens
from ktl.protocol import JSON, SAFETENSORS
from ktl.wire import decode_pairs, encode_message
from tests.support.served import ServedCloud

MAX_MEMORY = 1.5 * 2**30
MAX_P99 = 0.1  # seconds, of an upload's acknowledgement while the generator is idle
EDGE_SECONDS = 300.0  # for one edge's whole part
PACED_SESSIONS = 20  # of the first phase; their rounds never begin


@dataclass
class Load:
    """A client of every edge, and what it saw."""

    http: httpx.AsyncClient
    statuses: Counter[int] = field(default_factory=Counter)
    uploads: list[float] = field(default_factory=list)  # seconds until acknowledged
    broken: list[str] = field(default_factory=list)

    async def ask(self, method: str, path: str, token: str, **more: object) -> httpx.Response:
        """Asks until the answer is more than "later"."""
        headers = {"Authorization": f"Bearer {token}"} | more.pop("headers", {})  # type: ignore[operator]
        while True:
            began = time.perf_counter()
            answer = await self.http.request(method, path, headers=headers, **more)  # type: ignore[arg-type]
            self.statuses[answer.status_code] += 1
            if answer.status_code not in (202, 429, 503):
                if method == "PUT":
                    self.uploads.append(time.perf_counter() - began)
                if answer.status_code >= 400:
                    self.broken.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
                return answer
            if answer.status_code != 202 and "retry-after" not in answer.headers:
                self.broken.append(f"{method} {path}: {answer.status_code} without Retry-After")
            await asyncio.sleep(float(answer.headers.get("retry-after", 1)) if answer.status_code != 202 else 0)

    async def open(self, token: str, **parameters: object) -> str:
        headers = {"Content-Type": JSON, "Idempotency-Key": secrets.token_hex(8)}
        content = encode_message(MODEST)
        answer = await self.ask("POST", "/v1/sessions", token, content=content, headers=headers, params=parameters)
        return str(answer.headers["location"])

    async def upload(self, token: str, session: str, round_: int, edge: str, payload: bytes) -> None:
        path = f"{session}/rounds/{round_}/prototypes/{edge}"
        await self.ask("PUT", path, token, content=payload, headers={"Content-Type": SAFETENSORS})

    async def take_part(self, token: str, session: str, edge: str, rounds: int) -> None:
        """One edge: its rounds one after the other."""
        for round_ in range(1, rounds + 1):
            await self.upload(token, session, round_, edge, payload_of(hash(edge) % 997 + round_))
            answer = await self.ask("GET", f"{session}/rounds/{round_}/pairs", token, params={"wait": 30})
            if answer.status_code == 200:
                decode_pairs(answer.content, MODEST, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pace", type=float, default=50.0, help="uploads per second in the first phase")
    parser.add_argument("--uploads", type=int, default=1000, help="in the first phase")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        cloud = ServedCloud(Path(folder), "builtin")
        tokens = Tokens(Database(cloud.database))
        secrets_of = {
            f"edge-{i}": tokens.create(f"edge-{i}", "edge")
            for i in range(max(args.edges, args.sessions, PACED_SESSIONS))
        }
        broken = asyncio.run(load(cloud, args, secrets_of))
        memory = memory_of(cloud.pid, "VmHWM")
        if memory >= MAX_MEMORY:
            broken.append(f"the server took {memory / 2**20:.0f} MiB")
        if cloud.stop() != 0 or '"level": "error"' in cloud.log.read_text():
            broken.append("the server's log holds errors")
    print(f"\nserver memory, peak: {memory / 2**20:.0f} MiB")
    print("\n".join(f"BROKEN: {each}" for each in broken[:20]) or "every promise kept")
    sys.exit(1 if broken else 0)


async def load(cloud: ServedCloud, args: argparse.Namespace, tokens: dict[str, str]) -> list[str]:
    """The three phases; what broke."""
    print("| phase | seconds | requests by status | uploads | ack median ms | p99 ms | most ms |")
    print("|---|---|---|---|---|---|---|")
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=cloud.url, timeout=90, trust_env=False, limits=limits) as http:
        broken = await paced(Load(http), tokens, args.pace, args.uploads)
        broken += await in_one_session(Load(http), tokens, args.edges, args.rounds)
        return broken + await in_their_own(Load(http), tokens, args.sessions, args.rounds)


async def paced(load: Load, tokens: dict[str, str], pace: float, uploads: int) -> list[str]:
    """Uploads at a steady pace, to sessions whose rounds never begin."""
    names = list(tokens)[:PACED_SESSIONS]
    sessions = [await load.open(tokens[name], quorum=1000) for name in names]
    parts = []
    for i in range(uploads):
        turn = i % PACED_SESSIONS
        parts.append(later(i / pace, load, tokens[names[turn]], sessions[turn], i))
    broken = await phase(f"idle generator, {pace:g} uploads per second", load, parts)
    if np.percentile(load.uploads, 99) > MAX_P99:
        broken.append(f"uploads were acknowledged in {1000 * np.percentile(load.uploads, 99):.0f} ms (p99)")
    return broken


async def in_one_session(load: Load, tokens: dict[str, str], count: int, rounds: int) -> list[str]:
    """Edges whose rounds wait for all of them."""
    names = list(tokens)[:count]
    session = await load.open(tokens[names[0]], quorum=count, member=names[1:])
    parts = [bounded(load.take_part(tokens[name], session, name, rounds)) for name in names]
    return await phase(f"{count} edges in one session", load, parts)


async def in_their_own(load: Load, tokens: dict[str, str], count: int, rounds: int) -> list[str]:
    """Edges with a session each."""

    async def alone(name: str) -> None:
        await load.take_part(tokens[name], await load.open(tokens[name]), name, rounds)

    return await phase(f"{count} sessions of one edge", load, [bounded(alone(name)) for name in list(tokens)[:count]])


async def phase(name: str, load: Load, parts: Sequence[Coroutine[Any, Any, None]]) -> list[str]:
    """Prints what all parts together took; what broke."""
    began = time.perf_counter()
    for ended in await asyncio.gather(*parts, return_exceptions=True):
        if isinstance(ended, BaseException):
            load.broken.append(f"{name}: {type(ended).__name__}: {ended}")
    row(name, time.perf_counter() - began, load)
    return load.broken


async def later(seconds: float, load: Load, token: str, session: str, number: int) -> None:
    """An upload of a new edge, at its time whatever became of those before."""
    payload = payload_of(number % 50)
    await asyncio.sleep(seconds)
    await load.upload(token, session, 1, f"paced-{number}", payload)  # no token is called so


async def bounded(part: Coroutine[Any, Any, None]) -> None:
    await asyncio.wait_for(part, EDGE_SECONDS)


def row(name: str, seconds: float, load: Load) -> None:
    """One line of the table."""
    milliseconds = 1000 * np.array(load.uploads)
    statuses = json.dumps(dict(sorted(load.statuses.items()))).strip("{}").replace('"', "")
    median, p99, most = np.median(milliseconds), np.percentile(milliseconds, 99), milliseconds.max()
    line = f"| {name} | {seconds:.1f} | {statuses} | {len(milliseconds)} | {median:.1f} | {p99:.1f} | {most:.1f} |"
    print(line, flush=True)


@cache
def payload_of(seed: int) -> bytes:
    """What an edge would send."""
    return prototypes(MODEST.num_classes, seed=seed)


if __name__ == "__main__":
    main()
