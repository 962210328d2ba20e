"""A TCP proxy like a bad network: it cuts a share of its connections at a random byte, and drops silent ones."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from types import TracebackType

MAX_BYTES = 8_000  # a cut comes before so many, both directions together; small ones as likely as large ones
SILENT_SECONDS = 2.0  # a connection without a byte for so long is dropped, as a router's table does
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset


class CuttingProxy:
    """Listens on a loopback port while the `with` block runs and passes on to `port`."""

    def __init__(self, port: int, share: float, seed: int) -> None:
        self.port = port
        self.share = share
        self.connections = self.cuts = 0
        self._rng = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> CuttingProxy:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            _reset(writer)
            return
        left = int(MAX_BYTES ** self._rng.random()) if self._rng.random() < self.share else None
        passing = _Passing(left, self._loop.time())
        ways = [passing.run(reader, there_writer), passing.run(there_reader, writer)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        self.cuts += passing.cut
        for end in (writer, there_writer):
            if passing.cut:
                _reset(end)
            else:
                end.close()


class _Passing:
    """One connection's bytes: `left` of them until it is cut, or None."""

    def __init__(self, left: int | None, now: float) -> None:
        self.left = left
        self.last = now
        self.cut = False

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes one direction on until the connection ends, is cut, or has been silent in both directions."""
        loop = asyncio.get_running_loop()
        while not self.cut:
            try:
                data = await asyncio.wait_for(reader.read(4096), SILENT_SECONDS)
                if not data:
                    return
                self.last = loop.time()
                if self.left is not None:
                    self.cut = len(data) >= self.left
                    data, self.left = data[: self.left], self.left - len(data)
                writer.write(data)
                await writer.drain()
            except (TimeoutError, asyncio.TimeoutError):
                if loop.time() - self.last > SILENT_SECONDS:
                    return
            except OSError:
                return


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.close()
