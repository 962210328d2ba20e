"""A connection to SQLite or PostgreSQL whose commits survive a crash; its schema; and the lock of its one server."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session

from ktl.errors import KtlError, UsageError

READY_SECONDS = 2.5
THREADS = 16  # that speak to the database at once
SERVER_LOCK = 0x6B746C  # "ktl": the advisory lock of PostgreSQL
UPGRADE_LOCK = SERVER_LOCK + 1
BUSY_MILLISECONDS = 30_000
READERS_MILLISECONDS = 100  # for those who read to end, while nobody may write
PAGES_AT_ONCE = 1000  # of 4 KiB
PRAGMAS = (
    "auto_vacuum=INCREMENTAL",  # deleted data gives its room back; must come before the first table
    "journal_mode=WAL",
    "synchronous=FULL",  # a commit is on the disk before it is acknowledged
    "foreign_keys=ON",
    f"busy_timeout={BUSY_MILLISECONDS}",
    "secure_delete=ON",  # a deleted session's bytes are overwritten
)


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
        # One server writes, so its threads take turns here: none meets another's half-done work, and they wake at once
        # where inside SQLite they would sleep and poll.
        self._writer = threading.Lock()
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

    def compact(self) -> bool:
        """Gives the room of deleted rows back to the file system, and empties the log that still has their bytes.

        In steps between which others write. False if somebody read meanwhile, who needs the log: then do it again.
        PostgreSQL does so by itself.
        """
        if not self.is_sqlite:
            return True
        with closing(self.engine.raw_connection()) as connection:  # outside of any transaction
            cursor = connection.cursor()
            free, before = _free_pages(cursor), None
            while free and free != before:
                with self._writer:
                    cursor.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")  # execute() would free one page
                free, before = _free_pages(cursor), free
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # most of it, beside those who write
            cursor.execute(f"PRAGMA busy_timeout={READERS_MILLISECONDS}")
            try:
                with self._writer:
                    [(in_use, _, _)] = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        return not in_use

    def ready(self) -> bool:
        """Whether the database answers; False after `READY_SECONDS`, too, while an earlier question has no answer."""
        if not self._asking.acquire(timeout=READY_SECONDS):
            return False
        try:
            with self.read() as rows:
                rows.execute(text("SELECT 1 FROM tokens LIMIT 1"))
        except SQLAlchemyError:
            return False
        finally:
            self._asking.release()
        return True

    @contextmanager
    def one_server(self) -> Iterator[None]:
        """Held by a server while it runs: two on one database would draw every round twice. Raises UsageError."""
        refused = UsageError(
            "another ktl cloud server is running on this database: stop it, or give another --database"
        )
        if self.is_sqlite:
            with _locked_file(Path(f"{self.engine.url.database}.lock"), refused):
                yield
            return
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": SERVER_LOCK}):
                raise refused
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": SERVER_LOCK})


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
            pool_pre_ping=True,
            connect_args={"check_same_thread": False} if parsed.drivername == "sqlite" else POSTGRESQL,
            hide_parameters=True,  # payloads and hashes are for no log
        )
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise UsageError(
            "--database must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME (the latter needs psycopg)"
        ) from error
    if parsed.drivername == "sqlite":
        _prepare_sqlite(engine, Path(str(parsed.database)), new)
    return engine


def _prepare_sqlite(engine: Engine, file: Path, new: bool) -> None:
    try:
        flags = os.O_RDWR | (os.O_CREAT if new else 0)
        os.close(os.open(file, flags, 0o600))  # prototypes and token hashes are nobody else's
    except OSError as error:
        raise UsageError(f"--database file {file} cannot be opened: {error.strerror}") from error

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where sqlite3 guesses
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("ktl_begin", "BEGIN"))


@contextmanager
def _locked_file(path: Path, refused: UsageError) -> Iterator[None]:
    file: IO[bytes]
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise refused from error
        yield
