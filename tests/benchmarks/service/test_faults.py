"""An edge and its cloud killed at random moments behind a network that cuts: nothing is lost, nothing is done twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.postgres import why_not

ROOT = Path(__file__).resolve().parents[3]
FULL = ("--rounds", "30", "--server-kills", "20", "--edge-kills", "5", "--cut", "0.2")

with_postgresql = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def faults(*options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.service.faults", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen["broken"] == []
    assert done.returncode == 0
    assert seen["acknowledged"] <= seen["rounds"]
    return seen


@pytest.mark.slow
def test_kills_and_cuts_leave_no_trace() -> None:
    seen = faults("--rounds", "3", "--server-kills", "2", "--edge-kills", "1", "--cut", "0.5")
    assert (seen["server_kills"], seen["edge_kills"]) == (2, 1)
    assert seen["cuts"] > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_thirty_rounds_under_twenty_five_kills() -> None:
    seen = faults(*FULL)
    assert (seen["server_kills"], seen["edge_kills"]) == (20, 5)
    assert seen["cuts"] > 0.1 * seen["connections"]


@with_postgresql
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_thirty_rounds_under_twenty_five_kills_on_postgresql() -> None:
    seen = faults(*FULL, "--postgres")
    assert (seen["server_kills"], seen["edge_kills"]) == (20, 5)
