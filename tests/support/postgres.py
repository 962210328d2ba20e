"""A PostgreSQL server of its own on loopback, from Debian's package, gone when the block ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def why_not() -> str | None:
    """Why there can be no PostgreSQL here, or None if there can."""
    if not PROGRAMS:
        return "PostgreSQL is not installed: apt-get install postgresql"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "PostgreSQL does not run as root, and there is no runuser to run it as another user"
    return None


class Postgres:
    """A server that can be stopped, killed and made to hang."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://ktl@127.0.0.1:{self.port}/postgres"
        self._run("initdb", "-U", "ktl", "--auth=trust", "-E", "UTF8", "--locale=C")
        self.start()

    def start(self) -> None:
        """Returns when it takes connections."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: str) -> None:
        """As `pg_ctl stop -m` does; "immediate" is a crash."""
        self._run("pg_ctl", "-m", mode, "stop")

    def signal(self, number: signal.Signals) -> None:
        """To every one of its processes, those of connections included."""
        leader = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
        for process in (leader, *map(int, children)):
            os.kill(process, number)

    def _run(self, program: str, *arguments: str) -> None:
        other_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*other_user, str(PROGRAMS[-1].parent / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/")


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """One with an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="ktl-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    try:
        server = Postgres(folder)
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database."""
    with postgres_server() as server:
        yield server.url
