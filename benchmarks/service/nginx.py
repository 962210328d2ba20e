"""nginx in front of several servers, as docs/cloud.md shows it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

CONFIGURATION = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/bodies; proxy_temp_path {folder}/proxied;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream cloud {{
    {servers}
    keepalive 32;
  }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 64m;
    location / {{
      proxy_pass http://cloud;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_buffering off;
      proxy_connect_timeout 2s;
      proxy_read_timeout 90s;
      proxy_next_upstream error timeout http_502 http_503 non_idempotent;
    }}
  }}
}}
"""


class Nginx:
    """A proxy that gives each request to the next of the servers at `urls`, and to another if that one is gone."""

    def __init__(self, folder: Path, urls: Sequence[str]) -> None:
        program = shutil.which("nginx")
        if program is None:
            raise RuntimeError("nginx is not installed: apt-get install nginx-light")
        folder.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        servers = "".join(f"server {url.rpartition('/')[2]} max_fails=1 fail_timeout=2s; " for url in urls)
        file = folder / "nginx.conf"
        file.write_text(CONFIGURATION.format(folder=folder, servers=servers, port=port))
        self._process = subprocess.Popen([program, "-p", folder, "-c", file, "-e", folder / "error.log"])
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        """Ends it and its workers."""
        self._process.terminate()
        self._process.wait()
