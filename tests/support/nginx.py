"""An nginx of its own on loopback before servers, with the configuration of examples/proxy."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from .waiting import eventually

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "proxy" / "nginx.conf"
AROUND = """{user}daemon off; pid {folder}/nginx.pid;
events {{ worker_connections {connections}; }}
http {{
  access_log off; client_body_temp_path {folder}/bodies; proxy_temp_path {folder}/proxied;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {example}
}}
"""


def why_not() -> str | None:
    """Why there can be no nginx here, or None if there can."""
    return None if shutil.which("nginx") else "nginx is not installed: apt-get install nginx-light"


@contextmanager
def nginx(
    folder: Path,
    *servers: str,
    head_seconds: int = 10,
    certificate: tuple[Path, Path] | None = None,
    limited: bool = True,
    connections: int = 512,
) -> Iterator[str]:
    """The URL by which it passes requests on to the servers' URLs: with TLS if there is a certificate (and its key).

    `head_seconds` is how long it waits for a request's head; `limited` keeps the bounds on each address.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = EXAMPLE.read_text().splitlines()
    dropped = () if limited else ("limit_conn", "limit_req")
    if certificate is None:
        dropped = (*dropped, "ssl_")
    example = "\n".join(line for line in lines if not line.strip().startswith(dropped))
    example = example.replace("listen 443 ssl ", f"listen 127.0.0.1:{port}{' ssl' if certificate else ''} ")
    if certificate is not None:
        for name, file in zip(("fullchain.pem", "privkey.pem"), certificate, strict=True):
            example = example.replace(f"/etc/ktl/{name}", str(file))
    upstream = " ".join(f"server {urlsplit(each).netloc} max_fails=1 fail_timeout=2s;" for each in servers)
    example = example.replace("server 127.0.0.1:8765;", upstream)
    example = example.replace("client_header_timeout 10s", f"client_header_timeout {head_seconds}s")
    user = "user root; " if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        AROUND.format(user=user, folder=folder, connections=connections, example=example)
    )
    log = folder / "nginx.log"
    process = subprocess.Popen(["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", log])
    try:
        if not eventually(lambda: process.poll() is not None or _answers(port), 20) or process.poll() is not None:
            raise RuntimeError(f"nginx did not start: {log.read_text() if log.exists() else ''}")
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
