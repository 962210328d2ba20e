"""What a process does with its threads and its memory."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from ktl.learning.process import prepare_process

FAULTS = """
import resource, torch
from ktl.learning.process import prepare_process
prepare_process(1)
for step in range(20):
    maps = [torch.ones(5_000_000) for _ in range(4)]  # 20 MB each, as a step on 256 pairs has them
    del maps
    if step == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults() -> int:
    """Of 15 steps that allocate 80 MB and free them, in a process of their own, after 5 others."""
    return int(subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout)


@pytest.mark.timing
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_memory_that_a_step_freed_is_there_for_the_next_one() -> None:
    assert page_faults() < 1_000  # of 4 KiB; glibc left to itself: 290,000


def test_torch_has_the_threads_that_were_asked_for() -> None:
    before = torch.get_num_threads()
    prepare_process(before + 1)
    assert torch.get_num_threads() == before + 1
    prepare_process(before)
    assert torch.get_num_threads() == before
