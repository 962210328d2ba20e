"""An edge and its cloud under faults, against the same run left alone; exits with 1 if any promise was broken.

The server is killed (kill -9) and restarted, the edge is killed and resumed, each at random moments of random rounds,
and a proxy between them cuts a share of the connections at random bytes. The alignment is the published one: its
network and centroids live on through the rounds, so a round that was lost or aligned twice changes every later number.

Run: python -m benchmarks.service.faults [--rounds 30] [--server-kills 20] [--edge-kills 5] [--cut 0.2] [--postgres]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from sqlalchemy import select

from ktl.checkpoint import load_checkpoint
from ktl.cloud.embedded import EmbeddedCloud
from ktl.cloud.service.database import Database
from ktl.cloud.service.models import DONE, CloudSession, Round, Upload
from ktl.edge.run import train_edge
from ktl.edge.settings import RunConfig
from ktl.files import read_rows
from ktl.generators import load_generator
from ktl.loop.folder import load_config
from ktl.run_folder import CHECKPOINT, METRICS
from tests.support.cutting_proxy import CuttingProxy
from tests.support.postgres import postgres
from tests.support.served import Command, ServedCloud
from tests.support.tiny import save_tiny_bundle, save_tiny_generator

LATEST_KILL = 0.4  # seconds after a round's upload was made ready
EDGE_SECONDS = 600.0


@dataclass
class Seen:
    """What the faults were, and which promises were broken."""

    server_kills: int = 0
    edge_kills: int = 0
    connections: int = 0
    cuts: int = 0
    acknowledged: int = 0  # uploads, as the server's log has them
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def check(self, kept: bool, promise: str) -> None:
        if not kept:
            self.broken.append(promise)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--server-kills", type=int, default=20)
    parser.add_argument("--edge-kills", type=int, default=5)
    parser.add_argument("--cut", type=float, default=0.2)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with TemporaryDirectory() as folder, postgres() if args.postgres else nullcontext(None) as database:
        seen = endure(args, Path(folder), database)
    print(json.dumps(vars(args) | vars(seen)))
    sys.exit(1 if seen.broken else 0)


def endure(args: argparse.Namespace, folder: Path, database: str | None) -> Seen:
    """One run under faults, and the same run without."""
    rng = random.Random(args.seed)
    began, seen = time.monotonic(), Seen()
    cloud = ServedCloud(folder, save_tiny_generator(folder / "tiny.safetensors"), database=database)
    kills = sorted(rng.sample(range(1, args.rounds + 1), args.server_kills))
    edge_kills = sorted(rng.sample(range(1, args.rounds + 1), args.edge_kills))
    run = folder / "run"
    with CuttingProxy(int(cloud.url.rpartition(":")[2]), args.cut, args.seed) as proxy:
        options = ["--data", save_tiny_bundle(folder / "colours.npz"), "--shots", 4, "--rounds", args.rounds]
        options += ["--steps", 3 * args.rounds, "--warmup-steps", 3, "--pairs-per-class", 8, "--threads", 1]
        options += ["--alignment", "published", "--cloud", proxy.url, "--out", run]
        edge = _edge(options, folder, cloud)
        deadline = time.monotonic() + EDGE_SECONDS
        while edge.process.exitcode is None and time.monotonic() < deadline:
            due = len(list((run / "wire").glob("*-prototypes-0.safetensors")))
            if kills and due >= kills[0]:
                del kills[0]
                time.sleep(rng.uniform(0, LATEST_KILL))
                cloud.kill()
                seen.server_kills += 1
                _check_acknowledged(cloud, run, seen)
                cloud.start()
            elif edge_kills and due >= edge_kills[0]:
                del edge_kills[0]
                time.sleep(rng.uniform(0, LATEST_KILL))
                edge.kill()
                seen.edge_kills += 1
                edge = _edge(["--resume", run], folder, cloud)
            time.sleep(0.005)
        seen.check(edge.process.exitcode == 0, f"the edge ended with {edge.process.exitcode}: {edge.output()[-500:]}")
    seen.connections, seen.cuts = proxy.connections, proxy.cuts
    _check_acknowledged(cloud, run, seen)
    _check_rounds(cloud, run, args.rounds, seen)
    cloud.stop()
    seen.check("Traceback" not in cloud.log.read_text(), "the server's log holds a traceback")
    _check_against_undisturbed(folder, run, seen)
    seen.seconds = round(time.monotonic() - began, 1)
    return seen


def _edge(options: list[object], folder: Path, cloud: ServedCloud) -> Command:
    return Command(
        ["edge", "train", "--keep-session", *options], folder / "edge.log", {"KTL_TOKEN": cloud.tokens["edge"]}
    )


def _check_acknowledged(cloud: ServedCloud, run: Path, seen: Seen) -> None:
    """Every upload that an acknowledgement was sent for is in the database, byte for byte."""
    with Database(cloud.database).read() as rows:
        stored = {upload.round: upload.payload for upload in rows.scalars(select(Upload))}
    seen.acknowledged = 0
    for record in cloud.logged("request"):
        if record["method"] == "PUT" and record["status"] in (200, 201):
            number = int(record["path"].split("/")[5])
            seen.acknowledged += record["status"] == 201
            sent = (run / "wire" / f"round-{number:03d}-prototypes-0.safetensors").read_bytes()
            seen.check(stored.get(number) == sent, f"the acknowledged upload of round {number} is lost or changed")


def _check_rounds(cloud: ServedCloud, run: Path, rounds: int, seen: Seen) -> None:
    """One session, whose every round ended once, with the pairs that the edge has."""
    with Database(cloud.database).read() as rows:
        sessions = list(rows.scalars(select(CloudSession)))
        known = {each.number: each for each in rows.scalars(select(Round))}
    seen.check(len(sessions) == 1, f"{len(sessions)} sessions were opened")
    for number in range(1, rounds + 1):
        pairs = run / "wire" / f"round-{number:03d}-pairs.safetensors"
        ended = number in known and known[number].state == DONE and pairs.exists()
        seen.check(ended, f"round {number} did not end")
        if ended:
            same = hashlib.sha256(pairs.read_bytes()).digest() == known[number].digest
            seen.check(same, f"the edge has other pairs of round {number} than the cloud")
    done = [record["round"] for record in cloud.logged("round done")]
    seen.check(len(done) == len(set(done)), f"rounds were finished more than once: {sorted(done)}")


def _check_against_undisturbed(folder: Path, run: Path, seen: Seen) -> None:
    """The weights, optimizer state and metrics of a run with the embedded cloud that nothing disturbed."""
    config = load_config(run, RunConfig)
    alone = train_edge(config, folder / "alone", EmbeddedCloud(load_generator(str(folder / "tiny.safetensors"))))
    expected, _ = load_checkpoint(alone.out / CHECKPOINT)
    got, _ = load_checkpoint(run / CHECKPOINT)
    same = set(got) == set(expected) and all(torch.equal(got[name], expected[name]) for name in expected)
    seen.check(same, "the final weights are not those of the undisturbed run")
    seen.check(_metrics(run) == _metrics(alone.out), "the metrics are not those of the undisturbed run")


def _metrics(run: Path) -> list[dict[str, object]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_rows(run / METRICS)]


if __name__ == "__main__":
    main()
