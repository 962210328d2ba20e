"""A server on loopback that answers what the Hugging Face client asks of a hub with one repository."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "a" * 40


@contextmanager
def small_hub(repository: str, folder: Path) -> Iterator[str]:
    """Serves the files of `folder` as `repository` (owner/name); yields the address for HF_ENDPOINT."""
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path.startswith(f"/api/models/{repository}"):
                tree = [{"type": "file", "path": name, "size": 1, "oid": COMMIT} for name in names]
                about = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
                self.reply(200, json.dumps(tree if "/tree/" in path else about).encode())
                return
            _, _, within = path.partition(f"/{repository}/resolve/")
            name = within.partition("/")[2]
            self.reply(200, (folder / name).read_bytes()) if name in names else self.reply(404, b"")

        do_HEAD = do_GET

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
