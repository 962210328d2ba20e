"""Imported first, it lets a benchmark import the servers, networks and damage of tests/support."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
