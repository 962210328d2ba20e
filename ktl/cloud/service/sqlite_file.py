"""What a database in one SQLite file needs: how it is opened, its one server, and room to delete on a full disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from ktl.errors import UsageError

BUSY_MILLISECONDS = 30_000
PRAGMAS = (
    "auto_vacuum=INCREMENTAL",  # deleted data gives its room back; must come before the first table
    "journal_mode=WAL",
    "synchronous=FULL",  # a commit is on the disk before it is acknowledged
    "foreign_keys=ON",
    f"busy_timeout={BUSY_MILLISECONDS}",
    "secure_delete=ON",  # a deleted session's bytes are overwritten
)
RESERVE_BYTES = 16 * 2**20


def prepare(engine: Engine, file: Path, new: bool) -> None:
    """Opens the file, made if it may be `new`, and sets every connection up. Raises UsageError."""
    try:
        flags = os.O_RDWR | (os.O_CREAT if new else 0)
        os.close(os.open(file, flags, 0o600))  # prototypes and token hashes are nobody else's
    except OSError as error:
        raise UsageError(f"--database file {file} cannot be opened: {error.strerror}") from error

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where sqlite3 guesses
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("ktl_begin", "BEGIN"))


@contextmanager
def one_server(engine: Engine, file: Path) -> Iterator[None]:
    """Locks the file itself, by whatever name it is reached, until the block ends. Raises UsageError."""
    if file.stat().st_nlink > 1:
        raise UsageError(
            f"--database file {file} has {file.stat().st_nlink} names (hard links), and SQLite keeps a log by each: "
            "remove all but one"
        )
    # elsewhere than on Linux such a lock would keep SQLite out, too
    locked = file if sys.platform == "linux" else Path(f"{file.resolve()}.lock")
    import fcntl  # not on Windows

    with open(locked, "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                "another ktl cloud server is running on this database: stop it, or give another --database"
            ) from error
        try:
            yield
        finally:
            engine.dispose()  # first: a file that is closed takes this process's other locks on it along


@contextmanager
def reserve_released(file: Path) -> Iterator[None]:
    """On a full disk deleting needs room first: that of a file kept for it, which is made again afterwards."""
    reserve_of(file).unlink(missing_ok=True)
    try:
        yield
    finally:
        keep_reserve(file)


def keep_reserve(file: Path) -> None:
    """Sees to the reserve, if the disk has room for it."""
    reserve = reserve_of(file)
    if reserve.exists() and reserve.stat().st_size == RESERVE_BYTES:
        return
    try:
        with open(os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
            written.write(bytes(RESERVE_BYTES))  # not sparse: written
    except OSError:
        reserve.unlink(missing_ok=True)


def reserve_of(file: Path) -> Path:
    """The reserve of a database's file, beside it."""
    return Path(f"{file.resolve()}-reserve")


def checkpoint(engine: Engine) -> None:
    """Moves the log's pages into the file, as far as nobody needs them. Outside of any transaction."""
    with closing(engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def empty_log(engine: Engine, milliseconds: int) -> bool:
    """Moves the log's pages into the file; the log starts anew, empty. Outside of any transaction.

    False if somebody reads it for longer than so many milliseconds.
    """
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={milliseconds}")
        try:
            [(in_use, _, _)] = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    return not in_use


def give_back(engine: Engine, pages: int) -> int:
    """Returns up to so many free pages to the file system; how many are left. Outside of any transaction."""
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.executescript(f"PRAGMA incremental_vacuum({pages})")  # execute() would free one page
        (left,) = cursor.execute("PRAGMA freelist_count").fetchone()
    return int(left)
