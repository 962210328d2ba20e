"""A gateway between an edge and a real cloud that passes requests on, but for the faults that a test asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx

PASSED_ON = ("content-type", "accept", "authorization", "idempotency-key", "content-digest", "range", "if-range")


@dataclass
class Fault:
    """What happens instead to the next request whose method and path match; once."""

    method: str
    path_end: str
    status: int = 0  # answered in place of the cloud
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    damage: Callable[[bytes], bytes] | None = None  # of the cloud's answer
    cut_after: int | None = None  # bytes of the cloud's answer


class Gateway(ThreadingHTTPServer):
    """Listens on a free loopback port; `seen` are the requests in order, with their headers."""

    def __init__(self, cloud_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cloud_url = cloud_url
        self.faults: list[Fault] = []
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Gateway:
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.method == method and path.endswith(fault.path_end):
                self.faults.remove(fault)
                return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def _serve(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = self.path.partition("?")[0]
        self.server.seen.append((self.command, path, {name.lower(): value for name, value in self.headers.items()}))
        fault = self.server.fault(self.command, path)
        if fault is not None and fault.status:
            self._answer(fault.status, fault.headers, fault.body)
            return
        headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
        url = self.server.cloud_url + self.path
        answer = httpx.request(self.command, url, content=content, headers=headers, timeout=60, trust_env=False)
        body = answer.content
        if fault is not None and fault.damage is not None:
            body = fault.damage(body)
        self._answer(answer.status_code, dict(answer.headers), body, fault.cut_after if fault is not None else None)

    do_GET = do_PUT = do_POST = do_DELETE = _serve

    def _answer(self, status: int, headers: dict[str, str], body: bytes, cut_after: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "date", "server", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut_after])
        self.close_connection = cut_after is not None

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests read `seen`."""
