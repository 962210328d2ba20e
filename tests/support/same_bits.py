"""Whether two versions of ktl train to the same bits: digests of short runs of every kind, through the command line.

    python tests/support/same_bits.py record digests.json [--ktl PATH_OF_ANOTHER_KTL] [--only NAME ...]
    python tests/support/same_bits.py compare digests.json [--ktl ...] [--only ...]

Both run every job anew; about ten minutes on two cores. A digest covers weights, metrics (but for seconds), payloads,
the exported model and what was left out of rounds. It holds for one machine, one torch and one number of threads.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

METHODS = ["local", "fedktl", "lg-fedavg", "fedgen", "fedgh", "fml", "fedkd", "feddistill", "fedproto", "fedtgp"]
METHODS += ["fedmrl", "fedl2g-l", "fedl2g-f"]
QUICK = ["--steps", "40", "--warmup-steps", "60", "--pairs-per-class", "40"]
PUBLISHED = [
    "--shots",
    "3",
    "--alignment",
    "published",
    "--transfer",
    "mse",
    "--recipe",
    "published",
    "--pairs-per-class",
    "1",
    "--rounds",
    "2",
    "--steps",
    "20",
]
FEDERATION = [
    "--clients",
    "4",
    "--rounds",
    "2",
    "--steps",
    "16",
    "--models",
    "cnn4,resnet4",
    "--partition",
    "dirichlet",
    "--beta",
    "1",
    "--image-size",
    "16",
]

Digests = dict[str, str]
Job = Callable[["Ktl", Path], Digests]


class Ktl:
    """One installed `ktl`, by the path of its console script."""

    def __init__(self, script: str) -> None:
        self.script = script

    def __call__(self, *arguments: object, **environment: str) -> str:
        done = subprocess.run(
            [self.script, *map(str, arguments)], capture_output=True, text=True, env=os.environ | environment
        )
        if done.returncode != 0:
            raise SystemExit(f"ktl {' '.join(map(str, arguments))} failed: {done.stderr[-2000:]}")
        return done.stdout

    def stopped(self, *arguments: object, after: Callable[[str], bool], how: signal.Signals) -> None:
        """Starts a command and sends it a signal as soon as what it has written to standard error satisfies `after`."""
        process = subprocess.Popen([self.script, *map(str, arguments)], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        printed = ""
        for line in process.stderr:
            printed += line
            if after(printed):
                time.sleep(0.2)
                process.send_signal(how)
                break
        process.wait()


def run_digests(run: Path) -> Digests:
    """Of a run of `ktl edge train` and of its twin without a cloud."""
    found = _file_digests(run, "")
    if (run / "local-only").is_dir():
        found |= _file_digests(run / "local-only", "local-only ")
    return found


def _file_digests(run: Path, prefix: str) -> Digests:
    tensors = load_file(run / "checkpoint.safetensors")
    found = {f"{prefix}{name}": _digest(t.tobytes()) for name, t in tensors.items() if name.startswith("model/")}
    for number, payload in enumerate(sorted((run / "wire").glob("*-prototypes*"))):
        found[f"{prefix}upload {number}"] = _digest(payload.read_bytes())
    for number, payload in enumerate(sorted((run / "wire").glob("*-pairs*"))):
        found[f"{prefix}download {number}"] = _digest(payload.read_bytes())
    found[f"{prefix}metrics"] = _metrics(run)
    found[f"{prefix}labels"] = _digest((run / "labels.json").read_bytes())
    record = json.loads((run / "record.json").read_text())
    found[f"{prefix}record"] = _digest(json.dumps({k: v for k, v in record.items() if k != "environment"}).encode())
    for name, array in load_file(run / "record.safetensors").items():
        found[f"{prefix}record {name}"] = _digest(array.tobytes())
    return found


def federation_digests(run: Path) -> Digests:
    """Of every client's weights, and of the metrics."""
    found = {"metrics": _metrics(run)}
    for file in sorted((run / "clients").glob("*.safetensors")):
        for name, tensor in load_file(file).items():
            if name.startswith("model/"):
                found[f"{file.name} {name}"] = _digest(tensor.tobytes())
    return found


def _metrics(run: Path) -> str:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{name: value for name, value in sorted(row.items()) if name != "seconds"} for row in rows]
    return json.dumps(kept)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def edge(*arguments: str) -> Job:
    """One training, left alone until its end."""

    def job(ktl: Ktl, folder: Path) -> Digests:
        ktl("edge", "train", *arguments, "--out", folder / "run")
        return run_digests(folder / "run")

    return job


def edge_killed(ktl: Ktl, folder: Path) -> Digests:
    """Stopped among the steps on the shots with its state saved, killed outright after, and gone on with twice."""
    begin = ["edge", "train", *QUICK, "--rounds", "2", "--out", folder / "run"]
    ktl.stopped(*begin, after=lambda text: "shots" in text, how=signal.SIGTERM)
    go_on = ["edge", "train", "--resume", folder / "run"]
    ktl.stopped(*go_on, after=lambda text: "KTL 2/2" in text, how=signal.SIGKILL)
    ktl(*go_on)
    return run_digests(folder / "run")


def edge_served(ktl: Ktl, folder: Path) -> Digests:
    """With a cloud service on loopback."""
    database = f"sqlite:///{folder / 'cloud.db'}"
    server = subprocess.Popen(
        [ktl.script, "cloud", "serve", "--port", "0", "--database", database],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        printed = ""
        while "next:" not in printed:
            line = server.stdout.readline()
            if not line:
                raise SystemExit(f"the server ended: {printed}")
            printed += line
        patterns = (r"edge token.*: (?:in )?(.+)", r"listening on (\S+)")
        token, address = (re.findall(text, printed)[0] for text in patterns)
        token = Path(token).read_text().strip() if Path(token).is_file() else token  # 0.1.0 printed it
        ktl("edge", "train", *QUICK, "--cloud", address, "--out", folder / "run", KTL_TOKEN=token)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
    return run_digests(folder / "run")


def method(name: str) -> Job:
    """One federated method, left alone until its end."""

    def job(ktl: Ktl, folder: Path) -> Digests:
        ktl("federate", *FEDERATION, "--method", name, "--out", folder / "runs")
        return federation_digests(folder / "runs" / name)

    return job


def federation_killed(ktl: Ktl, folder: Path) -> Digests:
    """A federation that is stopped after a round, and gone on with."""
    begin = ["federate", *FEDERATION, "--rounds", "4", "--drop-ratio", "0.3", "--method", "fedktl"]
    process = subprocess.Popen([ktl.script, *begin, "--out", str(folder / "runs")], stderr=subprocess.PIPE)
    while not (folder / "runs" / "fedktl" / "config.json").exists():
        time.sleep(0.05)
    time.sleep(6)  # most of it starting the clients' processes
    process.send_signal(signal.SIGTERM)
    process.wait()
    ktl(*begin, "--out", folder / "runs", "--resume")
    return federation_digests(folder / "runs" / "fedktl")


JOBS: dict[str, Job] = {
    "edge default": edge(*QUICK),
    "edge published": edge(*PUBLISHED),
    "edge resnet8": edge(*QUICK, "--model", "resnet8", "--ways", "4"),
    "edge killed": edge_killed,
    "edge served": edge_served,
    **{f"federate {name}": method(name) for name in METHODS},
    "federate killed": federation_killed,
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["record", "compare"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--ktl", default=shutil.which("ktl", path=str(Path(sys.executable).parent)))
    parser.add_argument("--only", nargs="*", default=list(JOBS))
    options = parser.parse_args()
    kept: dict[str, Any] = json.loads(options.file.read_text()) if options.file.exists() else {}
    differing = 0
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            found = JOBS[name](Ktl(options.ktl), Path(folder))
        if options.what == "record":
            options.file.write_text(json.dumps(kept := kept | {name: found}, indent=1))
            print(f"{name}: {len(found)} digests", flush=True)
            continue
        odd = sorted(key for key in kept[name].keys() | found.keys() if kept[name].get(key) != found.get(key))
        differing += bool(odd)
        print(f"{name}: {'equal' if not odd else 'DIFFERS: ' + ', '.join(odd[:6])}", flush=True)
        for key in odd[:3]:
            print(f"    {key}: {kept[name].get(key)} -> {found.get(key)}")
    return min(differing, 1)


if __name__ == "__main__":
    sys.exit(main())
