"""An nginx of its own on loopback before a server, with the configuration that the documentation gives."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

DOCUMENTED = Path(__file__).resolve().parents[2] / "docs" / "nginx.conf"
START_SECONDS = 10.0


def why_not() -> str | None:
    """Why there can be no nginx here, or None if there can."""
    return None if shutil.which("nginx") else "nginx is not installed: apt-get install nginx-light"


@contextmanager
def nginx(folder: Path, *servers: str, head_seconds: int = 10) -> Iterator[str]:
    """The URL by which it passes requests on to the servers' URLs: without TLS, and waiting so long for a head."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = DOCUMENTED.read_text()
    upstream = " ".join(f"server {urlsplit(each).netloc};" for each in servers)
    lines = [line for line in text.splitlines() if "ssl_certificate" not in line and "worker_rlimit" not in line]
    own = "\n".join(lines).replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    own = own.replace("server 127.0.0.1:8765;", upstream).replace("worker_connections 32768", "worker_connections 512")
    own = own.replace("client_header_timeout 10s", f"client_header_timeout {head_seconds}s")
    for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        own = own.replace("http {", f"http {{\n    {each}_temp_path {folder / each};", 1)
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(f"{user}daemon off;\npid {folder / 'nginx.pid'};\n{own}\n")
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "nginx.log")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(port, process, folder / "nginx.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nginx did not start: {log.read_text()}") from None
            time.sleep(0.02)
