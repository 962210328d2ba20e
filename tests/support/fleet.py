"""A real Flower deployment on loopback: a SuperLink with TLS that knows its nodes' keys, and SuperNodes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
DAYS = "-days 1 -addext subjectAltName=IP:127.0.0.1 -subj /CN=127.0.0.1"


class Deployment:
    """A SuperLink in the folder `home`, and what is needed to join it and to start runs on it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.certificate, self.key = home / "superlink.pem", home / "superlink.key"
        new = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes {DAYS}".split()
        subprocess.run([*new, "-keyout", self.key, "-out", self.certificate], check=True, capture_output=True)
        flower = home / "flwr"
        flower.mkdir()
        (flower / "config.toml").write_text(
            f'[superlink]\ndefault = "loopback"\n\n[superlink.loopback]\naddress = "127.0.0.1:{self.port}"\n'
            f'root-certificates = "{self.certificate}"\n'
        )
        path = os.pathsep.join([str(BIN), os.environ["PATH"]])
        self.environment = os.environ | {"FLWR_HOME": str(flower), "FLWR_TELEMETRY_ENABLED": "0", "PATH": path}
        self._running: list[subprocess.Popen[bytes]] = []
        self.nodes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: object) -> subprocess.Popen[bytes]:
        """A program of its own process group, whose output goes to a file by this name."""
        with (self.home / f"{name}.log").open("ab") as log:
            words = [str(word) for word in command]
            started = subprocess.Popen(
                words, env=self.environment, cwd=self.home, stdout=log, stderr=log, start_new_session=True
            )
        self._running.append(started)
        return started

    def start_superlink(self) -> subprocess.Popen[bytes]:
        """Answers once it is back."""
        started = self.start(
            "superlink", BIN / "flower-superlink", "--ssl-ca-certfile", self.certificate, "--ssl-certfile",
            self.certificate, "--ssl-keyfile", self.key, "--port", self.port, "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
        )  # fmt: skip
        assert eventually(lambda: answers(self.port), 60), self.log("superlink")
        return started

    def node_key(self, client: int) -> Path:
        """A node's private key, whose public one the SuperLink is told."""
        file = self.home / f"node-{client}.key"
        key = ec.generate_private_key(ec.SECP384R1())
        form = serialization.PrivateFormat.OpenSSH
        file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        (self.home / f"node-{client}.pub").write_bytes(public)
        self.flwr("supernode", "register", self.home / f"node-{client}.pub", "loopback")
        return file

    def join(self, client: int, data: Path) -> subprocess.Popen[bytes]:
        """`ktl edge join` for one device; a second time for the same one with the same key."""
        key = self.home / f"node-{client}.key"
        key = key if key.exists() else self.node_key(client)
        self.nodes[client] = self.start(
            f"node-{client}", BIN / "ktl", "edge", "join", "--superlink",
            f"127.0.0.1:{self.port}", "--client", client, "--data", data, "--folder", self.home / f"device-{client}",
            "--ca-file", self.certificate, "--key-file", key, "--", "--port", free_port(),
        )  # fmt: skip
        return self.nodes[client]

    def flwr(self, *words: object) -> str:
        """What a `flwr` command prints. Raises AssertionError with its output if it fails."""
        command = [str(BIN / "flwr"), *map(str, words)]
        done = subprocess.run(command, env=self.environment, cwd=self.home, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, config: Mapping[str, object]) -> str:
        """Starts a run of the app in examples/flower; its number."""
        words = " ".join(f"{name}={json.dumps(value)}" for name, value in config.items())
        said = self.flwr("run", ROOT / "examples" / "flower", "loopback", "--run-config", words, "--format", "json")
        return str(json.loads(said)["run-id"])

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text(errors="replace")

    def end(self) -> None:
        for started in reversed(self._running):
            kill(started)


def kill(started: subprocess.Popen[bytes]) -> None:
    """At once, with all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()


@contextmanager
def deployment(home: Path) -> Iterator[Deployment]:
    made = Deployment(home)
    try:
        made.start_superlink()
        yield made
    finally:
        made.end()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
