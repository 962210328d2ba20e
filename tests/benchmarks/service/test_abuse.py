"""What one token can do to a server: the attacks of `benchmarks/service/abuse.py`, small and short."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.served import ServedCloud

from benchmarks.service import abuse, attacks
from benchmarks.service.edges import Edge
from ktl.cloud.service.database import Database
from ktl.cloud.service.tokens import Tokens

ROOT = Path(__file__).resolve().parents[3]
ATTACKS = {1: "large rounds", 3: "long polls that are dropped", 4: "silent sockets", 5: "many rounds", 6: "much stored"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_generator_file: Path) -> Iterator[ServedCloud]:
    bounds = ["--most-stored", "20MB", "--token-stored", "5MB", "--token-rounds", "4", "--most-pairs", "2000"]
    server = ServedCloud(tmp_path_factory.mktemp("served"), tiny_generator_file, *bounds)
    yield server
    server.stop()


@pytest.mark.parametrize("number", [1, 4, *(pytest.param(each, marks=pytest.mark.slow) for each in (3, 5, 6))])
def test_a_session_ends_beside_an_attacker(
    served: ServedCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(attacks, "POLLS", 100)
    monkeypatch.setattr(attacks, "SOCKETS", 100)
    monkeypatch.setattr(attacks, "ROUNDS", 8)
    tokens = Tokens(Database(served.database))
    honest = Edge(served.url, tokens.create(f"honest-{number}", "edge"))
    attacker = tokens.create(f"attacker-{number}", "edge")
    target = attacks.Target(served.url, attacker, served.database, tmp_path, served.pid, seconds=0.5)
    # how long it takes depends on what else this machine does: the benchmark measures that
    outcome = abuse.under(number, target, honest, undisturbed=60.0, rounds=1)
    assert outcome.attack == f"{number}. {ATTACKS[number]}"
    assert [each for each in outcome.broken if each != "not well in time"] == []
    assert 0 < outcome.health < 30
    assert served.command.process.exitcode is None


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nine_attacks_on_a_server_with_a_memory_limit(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.service.abuse", "--out", tmp_path / "rows.jsonl"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
