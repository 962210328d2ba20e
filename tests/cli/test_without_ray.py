"""Where Ray is not installed, the engine of the cloud that needs it says what to install."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest


def test_the_engine_names_the_line_that_installs_it(
    ktl: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "ray" or name.startswith("ktl.ray")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    done = ktl("cloud", "serve", "--engine", "ray", "--database", "postgresql://ktl@127.0.0.1:1/ktl")
    assert (done.returncode, done.stderr) == (2, "error: --engine ray needs Ray Serve: pip install 'ktl[cloud,ray]'\n")
