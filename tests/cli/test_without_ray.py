"""Where Ray is not installed, the engine of the cloud that needs it says what to install."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = "import sys; sys.modules['ray'] = None; from ktl_cli.main import main; main()"


def test_the_engine_names_the_line_that_installs_it() -> None:
    command = ["cloud", "serve", "--engine", "ray", "--database", "postgresql://ktl@127.0.0.1:1/ktl"]
    done = subprocess.run([sys.executable, "-c", WITHOUT, *command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: --engine ray needs Ray Serve: pip install 'ktl[cloud,ray]'\n")
