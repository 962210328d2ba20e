"""Where, when and with which ktl a row was measured."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ktl import __version__
from ktl.machine import cores

CPU_FACTS = Path("/proc/cpuinfo")  # Linux only


def provenance() -> dict[str, Any]:
    """`machine` (processor, and the cores that this process may use), `date` (of UTC) and `version` (of ktl)."""
    return {
        "machine": {"processor": processor(), "cores": len(cores())},
        "date": datetime.now(timezone.utc).date().isoformat(),
        "version": __version__,
    }


def processor() -> str:
    """The processor's name, as the system gives it."""
    if CPU_FACTS.exists():
        facts = (line.partition(":") for line in CPU_FACTS.read_text().splitlines())
        names = [value.strip() for name, _, value in facts if name.strip() == "model name"]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
