"""Connections are bounded: how many there are, how long a head may take to come, and an answer to be taken."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections import OrderedDict
from contextlib import suppress
from errno import EMFILE, ENFILE
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # from a head's first byte, or from a connection's beginning, to its last
STUCK_SECONDS = 300.0  # that a client may take nothing of its answer
RESERVED = 64  # connections beyond the bound: their requests are refused, but for those that ask whether it is well
SAY_EVERY = 60.0  # seconds
OTHER_DESCRIPTORS = 256  # of files, databases and libraries

log = logging.getLogger("ktl.cloud")


class BoundedProtocol(H11Protocol):
    """Uvicorn's HTTP/1.1 on a connection that is given up when its client keeps it waiting.

    When there are more than `most`, those that have been idle longest make room.
    """

    most: int
    idle: OrderedDict[BoundedProtocol, None]  # connections without a request, in the order since when
    _head: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        while len(self.connections) > self.most and self.idle:
            oldest, _ = self.idle.popitem(last=False)
            self.connections.discard(oldest)
            oldest.transport.abort()
        if len(self.connections) > self.most + RESERVED:
            transport.abort()
        told = {"gone": transport.is_closing, "crowded": len(self.connections) > self.most}
        self.app_state = self.app_state | told  # a request's scope has it
        self.idle[self] = None
        self._head = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        """A part of a head or of a body has come, or several requests at once."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self.idle.pop(self, None)
            self._end_head()
        elif self._head is None and not self.transport.is_closing():
            self._head = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def on_response_complete(self) -> None:
        """The connection may be used again."""
        self.idle[self] = None
        super().on_response_complete()
        if not self.cycle.response_complete:  # the next request had come already
            self.idle.pop(self, None)

    def shutdown(self) -> None:
        """The server stops. An idle client is not waited for, who would have to end TLS from its side first."""
        super().shutdown()
        if self in self.idle and self.transport.get_write_buffer_size() == 0:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self.idle.pop(self, None)
        self._end_head()
        self._end_stuck()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is sent."""
        super().pause_writing()
        self._stuck = self.loop.call_later(STUCK_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken some of it."""
        super().resume_writing()
        self._end_stuck()

    def _give_up(self) -> None:
        self._head = None
        self.transport.abort()

    def _end_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _end_stuck(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None


def bounded(most: int) -> type[BoundedProtocol]:
    """The protocol for one server with at most so many connections."""
    return type("BoundedProtocol", (BoundedProtocol,), {"most": most, "idle": OrderedDict()})


class ListeningSocket(socket.socket):
    """Where no descriptor is left, who connects is turned away: asyncio would log a line for each try to accept."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._spare = os.open(os.devnull, os.O_RDONLY)
        self._turned_away, self._told = 0, -SAY_EVERY

    def accept(self) -> tuple[socket.socket, Any]:
        """As of any socket. Raises ConnectionAbortedError for a client that was turned away."""
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in (EMFILE, ENFILE):
                raise
        self._turned_away += 1
        if time.monotonic() - self._told >= SAY_EVERY:
            self._told = time.monotonic()
            said = "no descriptor is left: connections are turned away; raise LimitNOFILE, or lower --connections"
            log.error(said, extra={"so_far": self._turned_away})
        os.close(self._spare)
        with suppress(OSError):
            super().accept()[0].close()
        self._spare = os.open(os.devnull, os.O_RDONLY)
        raise ConnectionAbortedError

    def close(self) -> None:
        """Gives the spare descriptor back too."""
        if self.fileno() >= 0:
            os.close(self._spare)
        super().close()


def connections_granted(wanted: int) -> int:
    """How many connections the process can hold: `wanted` if it may open as many descriptors, which it asks for."""
    import resource  # not on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard - RESERVED - OTHER_DESCRIPTORS)
    if granted < wanted:
        log.warning("fewer connections than set", extra={"connections": granted, "descriptors": hard})
    return max(granted, 1)
