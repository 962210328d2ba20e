"""Quotas: how many requests per second a client may send, and how many bytes in a body."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Network, ip_address
from threading import Lock

import anyio
from starlette.requests import ClientDisconnect, Request

from ktl.cloud.service.refusals import Refused

BODY_SECONDS = 60.0
MAX_CALLERS = 10_000


class RateLimit:
    """A token bucket for each caller: `rate` requests per second, and twice as many at once."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.burst = max(2 * rate, 1.0)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when that was
        self._lock = Lock()

    def take(self, caller: str, cost: float = 1.0) -> None:
        """Counts a request; with `cost` 0 only looks. Raises Refused (rate-limited) when there were too many."""
        now = time.monotonic()
        with self._lock:
            left, then = self._buckets.pop(caller, (self.burst, now))
            left = min(self.burst, left + (now - then) * self.rate)
            self._buckets[caller] = (left - cost if left >= 1 else left, now)
            if len(self._buckets) > MAX_CALLERS:
                self._buckets.popitem(last=False)
        if left < 1:
            wait = max(math.ceil((1 - left) / self.rate), 1)
            raise Refused(
                "rate-limited",
                f"more than {self.rate:g} requests per second; wait {wait} s",
                {"Retry-After": str(wait)},
            )


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises Refused (too-large, timeout), the former before anything is read if the length is told."""
    too_large = Refused("too-large", f"the body is larger than the {max_bytes:,} bytes that are read here")
    told = request.headers.get("content-length", "0")
    if not told.isascii() or not told.isdigit() or int(told) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise too_large
    except TimeoutError as error:
        raise Refused("timeout", f"the body did not arrive within {BODY_SECONDS:g} s; send it again") from error
    except ClientDisconnect as error:
        raise Refused("timeout", "the connection broke before the body had arrived; send it again") from error
    return bytes(body)


def address(request: Request) -> str:
    """Whom requests without a valid token are counted for: an IPv4 address, or the /64 network of an IPv6 one.

    Whoever has one address of such a network usually has all of them.
    """
    host = request.client.host if request.client else ""
    try:
        parsed = ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(parsed, IPv4Address):
        return host
    return str(parsed.ipv4_mapped or IPv6Network((int(parsed), 64), strict=False))
