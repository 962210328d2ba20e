"""Damaged requests and payloads against a real server: every answer must be a clean refusal, and memory must not grow.

Two fuzzers share the number of cases: schemathesis makes requests from the OpenAPI document, right and wrong ones; a
byte-level fuzzer damages safetensors uploads and session messages. As many downloads of pairs are damaged and read as
an edge reads them. Exits with 1 after a 5xx other than 503, a broken connection, an answer that is no refusal where one
was due, a crash, or growth of the server's memory.

Run: python -m benchmarks.service.fuzz [--cases 10000] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import hypothesis
import psutil
import schemathesis
import torch

from ktl.errors import WireError
from ktl.pairs import ImageVectorPairs
from ktl.protocol import JSON, SAFETENSORS
from ktl.prototypes import class_prototypes
from ktl.seeds import stream
from ktl.wire import SessionRequest, decode_pairs, encode_message, encode_pairs, encode_prototypes
from tests.support.damage import damaged
from tests.support.served import ServedCloud
from tests.support.tiny import save_tiny_generator

CLASSES = 4
REQUEST = SessionRequest(
    num_classes=CLASSES,
    image_size=16,
    channels=3,
    pairs_per_class=2,
    download_bytes=100_000,
    alignment="robust",
    image_format="webp",
    seed=0,
    warm_starts=["cnn4"],
    pairs_version=2,
)
MAX_GROWTH = 64 * 2**20  # bytes of resident memory between the first tenth of the cases and the last
ACCEPTED = 202
HOLDS_THE_LINE = {"/v1/sessions/{session}/events"}  # a stream that never ends by itself


@schemathesis.serializer(SAFETENSORS)
def _as_bytes(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else getattr(value, "data", str(value).encode())


class Fuzzer:
    """Sends, counts and judges."""

    def __init__(self, cloud: ServedCloud, seed: int) -> None:
        self.cloud = cloud
        self.rng = random.Random(seed)
        self.statuses: Counter[int] = Counter()
        self.downloads: Counter[str] = Counter()
        self.broken: list[str] = []
        headers = {"Authorization": f"Bearer {cloud.tokens['edge']}"}
        self.http = httpx.Client(base_url=cloud.url, headers=headers, timeout=30, trust_env=False)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        try:
            answer = self.http.request(method, path, **more)
        except httpx.TransportError as error:
            self.broken.append(f"{method} {path[:100]}: {type(error).__name__}: {error}")
            return None
        self.statuses[answer.status_code] += 1
        if answer.status_code >= 500 and answer.status_code != 503:
            self.broken.append(f"{method} {path[:100]}: {answer.status_code} {answer.text[:200]}")
        if answer.status_code >= 400 and "application/problem+json" not in answer.headers.get("content-type", ""):
            self.broken.append(f"{method} {path[:100]}: {answer.status_code} is no problem document")
        return answer

    def damaged_bytes(self, cases: int) -> None:
        """Half of the cases are uploads, half session messages."""
        session = self._open(encode_message(REQUEST))
        embeddings = torch.randn(3 * CLASSES, CLASSES, generator=stream(0, "embeddings"))
        upload = encode_prototypes(class_prototypes(embeddings, torch.arange(CLASSES).repeat_interleave(3)))
        for number in range(cases // 2):
            path = f"{session}/rounds/1/prototypes/edge-{number}"
            self.ask("PUT", path, content=damaged(upload, self.rng), headers={"Content-Type": SAFETENSORS})
        while (answer := self.ask("GET", f"{session}/warm-starts/cnn4?wait=10")) and answer.status_code == ACCEPTED:
            pass  # its training takes memory, once
        for _ in range(cases - cases // 2):
            self._open(damaged(encode_message(REQUEST), self.rng))

    def damaged_downloads(self, cases: int) -> None:
        """What an edge makes of damaged pairs of either version: a refusal, or pairs as they should be."""
        images = torch.randint(0, 256, (8, 3, 16, 16), generator=stream(0, "images"), dtype=torch.uint8)
        pairs = ImageVectorPairs(images, torch.randn(8, 16, generator=stream(0, "vectors")), torch.arange(8) % CLASSES)
        requests = [replace(REQUEST, pairs_version=version) for version in (1, 2)]
        downloads = [encode_pairs([pairs], request) for request in requests]
        for number in range(cases):
            try:
                received = decode_pairs(damaged(downloads[number % 2], self.rng), requests[number % 2], 16)
                received.validate(CLASSES)
                self.downloads["read"] += 1
            except WireError:
                self.downloads["refused"] += 1
            except Exception as error:
                self.broken.append(f"damaged pairs: {type(error).__name__}: {error}")

    def _open(self, content: bytes) -> str:
        headers = {"Content-Type": JSON, "Idempotency-Key": secrets.token_hex(8)}
        answer = self.ask("POST", "/v1/sessions?quorum=1000", content=content, headers=headers)
        return "" if answer is None else answer.headers.get("location", "")

    def odd_requests(self, cases: int) -> None:
        """Requests of every route, made from the OpenAPI document."""
        document = self.http.get("/openapi.json").json()
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=self.cloud.url)
        operations = [each.ok() for each in schema.get_all_operations()]
        operations = [each for each in operations if each.path not in HOLDS_THE_LINE]
        modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
        for operation in operations:
            each = max(cases // len(operations) // len(modes), 1)
            for mode in modes:
                self._odd(operation, mode, each)

    def _odd(self, operation: Any, mode: schemathesis.GenerationMode, cases: int) -> None:
        settings = hypothesis.settings(
            max_examples=cases,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )

        @hypothesis.seed(self.rng.randrange(2**32))
        @settings
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            kept = {name: value for name, value in case.as_transport_kwargs().items() if value is not None}
            request = {name: kept[name] for name in ("params", "headers", "cookies") if name in kept}
            request["headers"] = {**request.get("headers", {}), "Authorization": self.http.headers["authorization"]}
            if "json" in kept:
                request["content"] = json.dumps(kept["json"]).encode()
            elif isinstance(kept.get("data"), bytes | str):
                request["content"] = kept["data"]
            if isinstance(request.get("params"), dict) and "wait" in request["params"]:
                request["params"] = request["params"] | {"wait": 0}
            try:
                built = self.http.build_request(kept["method"], kept["url"], **request)
            except (httpx.InvalidURL, ValueError, TypeError):  # nothing that a client could send
                return
            self.ask(built.method, str(built.url), content=built.content, headers=dict(built.headers))

        try:
            send()
        except hypothesis.errors.Unsatisfiable:  # a route without parameters has no wrong ones
            return


def resident(pid: int) -> int:
    """Bytes of resident memory of a process."""
    return int(psutil.Process(pid).memory_info().rss)


def tenths(cases: int) -> Iterator[int]:
    """The number of cases in ten parts."""
    yield from (cases * (i + 1) // 10 - cases * i // 10 for i in range(10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        generator = save_tiny_generator(Path(folder) / "tiny.safetensors")
        cloud = ServedCloud(Path(folder), generator, "--rate", 100_000, "--warm-start-images", 64)
        fuzzer, memory = Fuzzer(cloud, args.seed), []
        pid = cloud.pid
        for part in tenths(args.cases):
            wanted = sum(fuzzer.statuses.values()) + part
            fuzzer.odd_requests(part // 2)  # fewer where a route has not so many that differ
            fuzzer.damaged_bytes(max(wanted - sum(fuzzer.statuses.values()), 0))
            fuzzer.damaged_downloads(part)
            memory.append(resident(pid))
        growth = memory[-1] - memory[0]
        if growth > MAX_GROWTH:
            fuzzer.broken.append(f"memory grew from {memory[0] / 2**20:.0f} to {memory[-1] / 2**20:.0f} MiB")
        if not cloud.command.process.is_alive():
            fuzzer.broken.append("the server ended")
        cloud.stop()
        if '"traceback"' in cloud.log.read_text():
            fuzzer.broken.append("the server's log holds a traceback")
    seen = {
        "requests": sum(fuzzer.statuses.values()),
        "statuses": dict(sorted(fuzzer.statuses.items())),
        "downloads": dict(fuzzer.downloads),
        "memory_mib": [round(each / 2**20) for each in memory],
        "seconds": round(time.monotonic() - began, 1),
        "broken": fuzzer.broken[:20],
    }
    print(json.dumps(seen))
    sys.exit(1 if fuzzer.broken else 0)


if __name__ == "__main__":
    main()
