"""What is damaged is refused, and nothing more happens."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from support.damage import damaged

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("cases", [100, 10_000])
def test_damaged_requests_are_refused_and_no_memory_is_kept(cases: int) -> None:
    command = [sys.executable, "-m", "benchmarks.service.fuzz", "--cases", str(cases)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout, done.stderr
    seen = json.loads(done.stdout)
    assert seen["broken"] == []
    assert done.returncode == 0
    assert seen["requests"] >= cases
    assert seen["downloads"]["refused"] > 0.5 * cases
    assert seen["downloads"]["read"] > 0
    refused = sum(count for status, count in seen["statuses"].items() if status.startswith("4"))
    assert refused > 0.5 * seen["requests"]


def test_damage_differs_from_case_to_case() -> None:
    payload = bytes(range(256))
    rng = random.Random(0)
    assert len({damaged(payload, rng) for _ in range(100)}) > 90
