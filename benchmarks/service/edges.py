"""What one edge does with a service, honest or not: requests of the protocol with one token."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import httpx
import torch

from ktl.protocol import JSON, SAFETENSORS
from ktl.prototypes import bare_prototypes, class_prototypes
from ktl.seeds import stream
from ktl.wire import SessionRequest, encode_message, encode_prototypes

MODEST = SessionRequest(
    num_classes=10,
    image_size=32,
    channels=3,
    pairs_per_class=20,
    download_bytes=200_000,
    alignment="robust",
    image_format="webp",
    seed=0,
)
GREEDY = replace(
    MODEST, num_classes=1000, image_size=4, channels=1, pairs_per_class=1000, download_bytes=64 * 2**20
)  # a gigabyte of latents, if it is let


def prototypes(classes: int, vectors: bool = True, seed: int = 0) -> bytes:
    """What an edge would send that has `classes` classes."""
    labels = torch.arange(classes).repeat_interleave(2)
    if not vectors:
        return encode_prototypes(bare_prototypes(labels))
    return encode_prototypes(
        class_prototypes(torch.randn(len(labels), classes, generator=stream(seed, "edge")), labels)
    )


@dataclass
class Edge:
    """One token's requests, each tried once."""

    url: str
    token: str

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False)

    def open(self, request: SessionRequest, **parameters: object) -> httpx.Response:
        headers = {"Content-Type": JSON, "Idempotency-Key": secrets.token_hex(8)}
        content = encode_message(request)
        return self.http.post("/v1/sessions", content=content, headers=headers, params=parameters)  # type: ignore[arg-type]

    def upload(self, session: str, payload: bytes, round_: int = 1, edge: str = "cam") -> httpx.Response:
        path = f"{session}/rounds/{round_}/prototypes/{edge}"
        return self.http.put(path, content=payload, headers={"Content-Type": SAFETENSORS})

    def pairs(self, session: str, round_: int = 1, wait: float = 20.0) -> httpx.Response:
        return self.http.get(f"{session}/rounds/{round_}/pairs", params={"wait": wait})

    def whole_session(self, rounds: int, patience: float = 300.0) -> float:
        """Seconds from opening a session to its deletion. Raises RuntimeError for what an edge would give up at."""
        began = time.monotonic()
        opened = self._until_taken(lambda: self.open(MODEST), began + patience)
        session = opened.headers["location"]
        for round_ in range(1, rounds + 1):
            payload = prototypes(MODEST.num_classes, seed=round_)
            self._until_taken(lambda: self.upload(session, payload, round_), began + patience)  # noqa: B023
            self._until_taken(lambda: self.pairs(session, round_), began + patience)  # noqa: B023
        self._until_taken(lambda: self.http.delete(session), began + patience)
        return time.monotonic() - began

    def _until_taken(self, ask, deadline: float) -> httpx.Response:  # type: ignore[no-untyped-def]
        while True:
            try:
                answer = ask()
            except httpx.TransportError:
                answer = httpx.Response(503)
            if answer.status_code in (200, 201, 204):
                return answer
            if answer.status_code not in (202, 429, 503) or time.monotonic() > deadline:
                raise RuntimeError(f"{answer.status_code} {answer.text[:300]}")
            time.sleep(0 if answer.status_code == 202 else float(answer.headers.get("retry-after", 0.5)))


def request_head(url: str, method: str, path: str, token: str = "", *more: str) -> bytes:
    """The bytes of a request without a body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", *more]
    lines += [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([*lines, "", ""]).encode()


async def connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the server."""
    address = urlsplit(url)
    return await asyncio.open_connection(address.hostname, address.port)
