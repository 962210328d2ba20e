"""What this machine gives a process: its cores, and how much memory it has taken."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil


def cores() -> list[int]:
    """The processor cores that this process may use."""
    process = psutil.Process()
    return sorted(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else list(range(psutil.cpu_count() or 1))


def peak_memory() -> int:
    """The most resident memory that this process has had, in bytes.

    Linux's getrusage counts what the parent had before, and psutil knows no peak there; /proc does.
    """
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # on Windows
        return int(memory.peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
