from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ktl.machine import cores

PEAK = """
from ktl.machine import peak_memory
before = peak_memory()
block = bytearray(200 * 2**20)
block = None
print(before, peak_memory())
"""


def test_the_peak_stays_after_memory_is_given_back() -> None:
    ended = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True, timeout=60)
    before, after = map(int, ended.stdout.split())
    assert 4 * 2**20 < before < 100 * 2**20
    assert 200 * 2**20 <= after < before + 220 * 2**20


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a process keeps all cores here")
def test_cores_are_those_that_the_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    assert cores() == sorted(allowed)
    try:
        os.sched_setaffinity(0, {max(allowed)})
        assert cores() == [max(allowed)]
    finally:
        os.sched_setaffinity(0, allowed)
