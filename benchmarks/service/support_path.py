"""Imported first, it lets a benchmark import the servers of tests/support."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
