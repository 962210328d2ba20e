"""A connection to SQLite or PostgreSQL whose commits survive a crash, and its schema."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import ColumnElement, Double, Engine, cast, create_engine, delete, func, literal, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from ktl.cloud.service import sqlite_file
from ktl.cloud.service.models import Base, Probe
from ktl.errors import KtlError, UsageError

READY_SECONDS = 2.5
WRITE_EVERY = 2.0  # seconds between tries to write, however often readiness is asked for
PROBE_BYTES = 2**14
PAGES_AT_ONCE = 2**10  # given back; others write in between
THREADS = 16  # that speak to the database at once
READERS_MILLISECONDS = 100  # for those who read to end, while nobody may write
UPGRADE_LOCK = 0x6B746C  # "ktl": an advisory lock of PostgreSQL
AWAY = (OperationalError, InterfaceError, InternalError, PoolTimeout)  # what may be well again later
POSTGRESQL = {  # a connection to a machine that is gone, or a lock that nobody gives back, ends in an error
    "connect_timeout": 5,
    "options": "-c statement_timeout=30s -c lock_timeout=15s -c idle_in_transaction_session_timeout=60s",
    **{"keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": 15_000},
}


class Database:
    """Transactions: `with database.read() as rows` or `with database.write() as rows`, each a SQLAlchemy session."""

    def __init__(self, url: str, *, new: bool = True) -> None:
        """A file of SQLite is made if there is none and it may be `new`. Raises UsageError."""
        self.engine = _engine(url, new)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._writing = self.engine.execution_options(ktl_begin="BEGIN IMMEDIATE")
        # SQLite has one writer: threads take turns here, where they wake at once, and do not sleep and poll inside it
        self._writer: AbstractContextManager[Any] = threading.Lock() if self.is_sqlite else nullcontext()
        self._tried = (float("-inf"), False)  # when writing was tried last, and whether it could be done
        self._asking = threading.Lock()  # one thread at most hangs where a database does

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that changes nothing."""
        with Session(self.engine) as rows:
            yield rows

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that is committed, on the disk, when the block ends without an error."""
        with self._writer, Session(self._writing, expire_on_commit=False) as rows, rows.begin():
            yield rows

    def upgrade(self) -> None:
        """Brings the schema to this release's, whatever release wrote it. Raises KtlError when it cannot."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        try:
            with self._writer, self._writing.begin() as connection:
                if not self.is_sqlite:  # of two programs that begin at once, one waits
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except (SQLAlchemyError, CommandError) as error:
            raise self._unusable(error) from error

    def check(self) -> None:
        """Raises KtlError unless the schema is there and this release's: what a running server uses is not upgraded."""
        scripts = ScriptDirectory(str(Path(__file__).parent / "migrations"))
        try:
            with self.engine.connect() as connection:
                found = MigrationContext.configure(connection).get_current_heads()
        except SQLAlchemyError as error:
            raise self._unusable(error) from error
        if not found:
            raise KtlError(f"{self._name} holds nothing of ktl's: name the server's --database, or start it once")
        if set(found) != set(scripts.get_heads()):
            raise KtlError(f"{self._name} is of another release of ktl: restart the server with this one, or use that")

    @property
    def _name(self) -> str:
        return f"the database {self.engine.url.render_as_string(hide_password=True)}"

    def _unusable(self, error: Exception) -> KtlError:
        return KtlError(f"{self._name} cannot be used ({str(error).splitlines()[0]}); check --database")

    def now(self) -> ColumnElement[float]:
        """Seconds since 1970 by the one clock that all servers of this database share."""
        if self.is_sqlite:
            return literal(time.time(), Double)
        return cast(func.extract("epoch", func.clock_timestamp()), Double)

    def put(self, rows: Session, table: type[Base], **values: Any) -> None:
        """Writes a row, in place of one with the same key if there is one."""
        dialect = sqlite if self.is_sqlite else postgresql
        key = [column.name for column in table.__table__.primary_key]
        rows.execute(dialect.insert(table).values(**values).on_conflict_do_update(index_elements=key, set_=values))

    def take_turns(self, rows: Session, name: str) -> None:
        """Until this transaction ends, whoever else takes turns by this name waits here, in another server too."""
        if not self.is_sqlite:
            rows.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})

    def compact(self) -> bool:
        """Gives the room of deleted rows back to the file system, and empties the log that still has their bytes.

        In steps between which others write. False if somebody read meanwhile, who needs the log: then do it again.
        PostgreSQL does so by itself.
        """
        if not self.is_sqlite:
            return True
        sqlite_file.checkpoint(self.engine)  # most of the log, beside those who write
        free, before, emptied = 1, 2, False  # pages: what is left, and what was before the last step
        while free and free != before:
            with self._writer:
                before, free = free, sqlite_file.give_back(self.engine, PAGES_AT_ONCE)
                emptied = sqlite_file.empty_log(self.engine, READERS_MILLISECONDS)
        return emptied

    @contextmanager
    def room_to_delete(self) -> Iterator[None]:
        """For deleting on a full disk, in small transactions with `settle` after each."""
        if not self.is_sqlite:
            yield
            return
        with sqlite_file.reserve_released(self._file):
            self.settle()
            yield
            self.compact()

    def settle(self) -> None:
        """Brings what was committed to its last place, so that SQLite's log does not grow."""
        if self.is_sqlite:
            with self._writer:
                sqlite_file.empty_log(self.engine, sqlite_file.BUSY_MILLISECONDS)

    def ready(self) -> bool:
        """Whether the database can be read and written to.

        False after `READY_SECONDS`, too, while an earlier question has no answer.
        """
        if not self._asking.acquire(timeout=READY_SECONDS):
            return False
        try:
            with self.read() as rows:
                rows.execute(text("SELECT 1 FROM tokens LIMIT 1"))
            when, could = self._tried
            if time.monotonic() - when > WRITE_EVERY:
                could = self._can_write()
                self._tried = time.monotonic(), could
            return could
        except SQLAlchemyError:
            return False
        finally:
            self._asking.release()

    def _can_write(self) -> bool:
        row = Probe(id=secrets.token_hex(8), data=os.urandom(PROBE_BYTES))
        try:
            with self.write() as rows:
                rows.add(row)
                rows.flush()
                rows.execute(delete(Probe).where(Probe.id == row.id))
        except SQLAlchemyError:
            return False
        return True

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Held by a server while it runs. PostgreSQL has room for several; a file of SQLite has one. Raises UsageError.

        All connections are closed at the end.
        """
        if not self.is_sqlite:
            try:
                yield
            finally:
                self.engine.dispose()
            return
        with sqlite_file.one_server(self.engine, self._file):
            sqlite_file.keep_reserve(self._file)
            yield

    @property
    def _file(self) -> Path:
        return Path(str(self.engine.url.database))


def _free_pages(cursor: Any) -> int:
    return int(cursor.execute("PRAGMA freelist_count").fetchone()[0])


def _engine(url: str, new: bool) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername not in ("sqlite", "postgresql+psycopg") or not parsed.database:
            raise ArgumentError
        engine = create_engine(
            parsed,
            pool_size=THREADS + 4,
            max_overflow=4,
            pool_pre_ping=parsed.drivername != "sqlite",  # a file does not go away as a server does
            connect_args={"check_same_thread": False} if parsed.drivername == "sqlite" else POSTGRESQL,
            hide_parameters=True,  # payloads and hashes are for no log
        )
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise UsageError(
            "--database must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME (the latter needs psycopg)"
        ) from error
    if parsed.drivername == "sqlite":
        sqlite_file.prepare(engine, Path(str(parsed.database)), new)
    return engine
