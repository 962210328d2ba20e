"""Asks a server again and again whether it is well, on a new connection each time; prints the worst answer's seconds.

A program of its own, so that what it measures is the server and not the program that loads it.

Run: python -m benchmarks.service.health URL STOP_FILE   (until that file exists)
"""

from __future__ import annotations

import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

PAUSE = 0.1  # seconds
PATIENCE = 30.0  # seconds


def asked(host: str) -> float:
    """Seconds until the server said that it is well; infinite if it did not."""
    began = time.perf_counter()
    connection = HTTPConnection(host, timeout=PATIENCE)
    try:
        connection.request("GET", "/healthz")
        well = connection.getresponse().status == 200
    except (OSError, HTTPException):
        well = False
    finally:
        connection.close()
    return time.perf_counter() - began if well else float("inf")


def main() -> None:
    host, stop = urlsplit(sys.argv[1]).netloc, Path(sys.argv[2])
    seconds = [asked(host)]
    while not stop.exists():
        time.sleep(PAUSE)
        seconds.append(asked(host))
    print(max(seconds), len(seconds))


if __name__ == "__main__":
    main()
