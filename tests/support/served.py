"""Real processes of `ktl` for benchmarks and tests: started in a blink, and killed as a power cut would.

They are forked from a process that has imported everything and done nothing: a start takes a tenth of a second, not
the seconds that importing torch takes.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import re
import signal
import ssl
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

PRELOADED = [
    "ktl_cli.main",
    "ktl.cloud.service.server",
    "ktl.generators.network",
    "ktl.edge.compare",
    "ktl.edge.network.http",
]
START_SECONDS = 60.0


class Command:
    """`ktl ARGUMENTS` in a process of its own, in `folder` if given; what it prints is kept in `log`.

    `constants` are values of modules that differ in this process: {"ktl.edge.edge_run.CHECKPOINT_SECONDS": 0.0}.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        log: Path,
        environment: Mapping[str, str] = MappingProxyType({}),
        folder: Path | None = None,
        constants: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.log = log
        self._from = log.stat().st_size if log.exists() else 0  # what earlier processes printed
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.process: ForkServerProcess = context.Process(
            target=_run,
            args=([str(each) for each in arguments], str(log), dict(environment), folder, dict(constants)),
            daemon=True,
        )
        self.process.start()

    def output(self) -> str:
        """What this process has printed so far."""
        return self.log.read_bytes()[self._from :].decode() if self.log.exists() else ""

    def wait(self, seconds: float) -> int:
        """The exit code. Raises TimeoutError."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            raise TimeoutError(f"still running after {seconds:g} s: {self.output()[-2000:]}")
        return self.process.exitcode

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.join()

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, signal.SIGTERM)
        return self.wait(seconds)


class ServedCloud:
    """`ktl cloud serve` that can be killed and started again on the same port and database."""

    def __init__(
        self,
        folder: Path,
        generator: Path | str,
        *options: object,
        database: str | None = None,
        authority: Path | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
        start_seconds: float = START_SECONDS,
    ) -> None:
        self.database = database or f"sqlite:///{folder / 'cloud.db'}"
        self.folder = folder
        self.log = folder / "cloud.log"
        self.tokens: dict[str, str] = {}
        self.url = ""
        self._port = 0
        self._start_seconds = start_seconds
        self._environment = {"KTL_WARM_STARTS": str(folder / "warm starts")} | dict(environment)
        self._verify = ssl.create_default_context(cafile=authority) if authority else True
        self._options = ["--generator", generator, "--threads", "1", "--database", self.database, *options]
        self.start()

    def start(self) -> None:
        """Returns when it takes requests."""
        arguments = ["cloud", "serve", "--port", self._port, *self._options]
        self.command = Command(arguments, self.log, self._environment, self.folder)
        deadline = time.monotonic() + self._start_seconds
        while (found := re.search(r"listening on (\S+:(\d+))\n", self.command.output())) is None:
            if self.command.process.exitcode is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {self.command.output()[-2000:]}")
            time.sleep(0.01)
        self.url, self._port = found[1], int(found[2])
        self.tokens |= first_tokens(self.command.output(), self.folder)
        while True:
            try:
                if httpx.get(f"{self.url}/readyz", trust_env=False, verify=self._verify).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server is not ready: {self.command.output()[-2000:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        """kill -9."""
        self.command.kill()

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        return self.command.stop(seconds)

    @property
    def pid(self) -> int:
        """Of the server's process."""
        assert self.command.process.pid is not None
        return self.command.process.pid

    def logged(self, message: str) -> Iterator[dict[str, Any]]:
        """Every log record with this message, of all its lives. A line that a kill cut short is left out."""
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and record.get("message") == message:
                yield record


def first_tokens(printed: str, folder: Path) -> dict[str, str]:
    """By scope, from the files that a server which was started in `folder` says that it wrote."""
    files = re.findall(r"^first (\w+) token: in (.+)$", printed, re.MULTILINE)
    return {scope: (folder / file).read_text().strip() for scope, file in files}


def _run(
    arguments: list[str], log: str, environment: dict[str, str], folder: Path | None, constants: dict[str, object]
) -> None:
    os.environ.update(environment)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["ktl", *arguments]
    if folder is not None:
        os.chdir(folder)
    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        setattr(importlib.import_module(module), constant, value)
    from ktl_cli.main import main

    main()
