"""A server in a process of its own under a memory limit, that of the documented systemd unit or another one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
START_SECONDS = 120.0


class MemoryLimit:
    """A control group of Linux where this program may make one; else nothing is limited, and memory is watched."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.second = (CGROUP / "cgroup.controllers").exists()
        self.folder: Path | None = (CGROUP if self.second else CGROUP / "memory") / f"ktl-abuse-{os.getpid()}"
        try:
            self.folder.mkdir()
            (self.folder / ("memory.max" if self.second else "memory.limit_in_bytes")).write_text(str(most))
        except OSError:
            self.folder = None

    @property
    def kind(self) -> str:
        """What holds the limit, in words."""
        return "watched only" if self.folder is None else f"control group, version {2 if self.second else 1}"

    def enter(self) -> None:
        """This process, and what it starts, is limited from here on."""
        if self.folder is not None:
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def kills(self) -> int:
        """Processes that were killed for it."""
        if self.folder is None:
            return 0
        text = (self.folder / ("memory.events" if self.second else "memory.oom_control")).read_text()
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])

    def end(self) -> None:
        """Once all of its processes have ended."""
        if self.folder is not None:
            with suppress(OSError):
                self.folder.rmdir()


class LimitedCloud:
    """`ktl cloud serve` as a supervisor starts it, under a limit."""

    def __init__(self, folder: Path, limit: MemoryLimit, *options: object, database: str | None = None) -> None:
        self.folder = folder
        self.database = database or f"sqlite:///{folder / 'cloud.db'}"
        self.log = folder / "cloud.log"
        self.limit = limit
        command = [sys.executable, "-c", "from ktl_cli.main import script; script()", "cloud", "serve", "--port", "0"]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [*command, "--database", self.database, *map(str, options)],
                stdout=log,
                stderr=log,
                env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "MALLOC_ARENA_MAX": "2"},
                preexec_fn=limit.enter,
                cwd=folder,  # where its first tokens are kept
            )
        self.url = self._listening()

    def _listening(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while (found := re.search(r"listening on (\S+)\n", self.log.read_text())) is None:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)
        return found[1]

    @property
    def pid(self) -> int:
        """Of the server's process."""
        return self.process.pid

    def stop(self, seconds: float = 60.0) -> float:
        """SIGTERM, after `seconds` kill -9; how long it took."""
        began = time.monotonic()
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return time.monotonic() - began


def memory_of(pid: int | str, which: str) -> int:
    """Resident memory in bytes: now (`VmRSS`), or the most that there was (`VmHWM`)."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(which)]
    return 1024 * int(line.split()[1])
