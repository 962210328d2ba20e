"""Events from server to server, where several share a PostgreSQL: each NOTIFYs the others and LISTENs to them.

An event may be lost, with a connection or a server. So it only ever says "look": who waits looks again when the relay
has been away, and the worker looks every second. That a round has ended is told by the transaction that ends it, so a
server that dies at that moment has told it.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session as Rows

from ktl.cloud.service.database import AWAY, Database
from ktl.cloud.service.events import Event, Events

CHANNEL = "ktl_cloud"
TOLD = ("opened", "round", "queued", "ended", "deleted")
AT_ONCE = 1000  # events in a transaction
TRY_AGAIN = 1.0  # seconds
STOP_SECONDS = 5.0

log = logging.getLogger("ktl.cloud")


class Relay:
    """Two threads: one tells the other servers, one hears them. `server` is this one's name."""

    def __init__(self, database: Database, events: Events, server: str) -> None:
        self.database = database
        self.events = events
        self.server = server
        self._outbox: dict[Event, None] = {}  # in order, each once: an event says no more when it is told twice
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=task, name=name, daemon=True)
            for task, name in ((self._tell, "relay-out"), (self._listen, "relay-in"))
        ]

    def start(self) -> None:
        """Begins, on PostgreSQL; a file of SQLite has no other servers."""
        if not self.database.is_sqlite:
            self.events.relay = self._post
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """Ends, after what is still to be told."""
        self._stop.set()
        self._told.set()
        if not self.database.is_sqlite:
            for thread in self._threads:
                thread.join(STOP_SECONDS)

    def _post(self, event: Event) -> None:
        if event.kind in TOLD:
            with self._lock:
                self._outbox[event] = None
            self._told.set()

    def _tell(self) -> None:
        while not (self._stop.is_set() and not self._outbox):
            self._told.wait()
            self._told.clear()
            with self._lock:
                events = list(self._outbox)[:AT_ONCE]
                for event in events:
                    del self._outbox[event]
            try:
                with self.database.write() as rows:
                    for event in events:
                        notify(rows, self.server, event)
            except AWAY:  # the others' connections broke, too: they will look
                self._stop.wait(TRY_AGAIN)
            if self._outbox:
                self._told.set()

    def _listen(self) -> None:
        away = False
        while not self._stop.is_set():
            try:
                with self.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                    listening = connection.connection.driver_connection
                    connection.detach()  # it listens: not for the pool
                    connection.exec_driver_sql(f"LISTEN {CHANNEL}")
                    away = False
                    self.events.hear(Event("missed"))
                    self._hear(listening)
            except Exception as error:
                if not away:
                    log.warning("other servers are not heard", extra={"reason": str(error).splitlines()[0]})
                away = True
                self._stop.wait(TRY_AGAIN)

    def _hear(self, listening: Any) -> None:
        """Until the relay stops. Raises psycopg's errors."""
        while not self._stop.is_set():
            for notice in listening.notifies(timeout=TRY_AGAIN):
                server, kind, session, number = msgspec.json.decode(notice.payload)
                if server != self.server:
                    self.events.hear(Event(kind, session, number))


def notify(rows: Rows, server: str, event: Event) -> None:
    """Has the database tell the other servers once the transaction is committed. SQLite has nobody to tell."""
    if rows.get_bind().dialect.name != "sqlite":
        message = msgspec.json.encode([server, event.kind, event.session, event.round]).decode()
        rows.execute(text("SELECT pg_notify(:channel, :message)"), {"channel": CHANNEL, "message": message})
