"""Where Flower is not installed, all else works and its commands say what to install."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

WITHOUT = "import sys; sys.modules['flwr'] = None; sys.modules['ray'] = None; from ktl_cli.main import main; main()"


Ktl = Callable[..., "subprocess.CompletedProcess[str]"]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT, *map(str, words)], capture_output=True, text=True)


def test_the_engine_names_the_line_that_installs_it(tmp_path: Path) -> None:
    done = run("federate", "--engine", "flower", "--method", "local", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: --engine flower needs Flower: pip install 'ktl[flower]'"
    assert not (tmp_path / "run").exists()


def test_an_unknown_engine_and_sums_that_no_engine_takes_are_refused(ktl: Ktl, tmp_path: Path) -> None:
    done = ktl("federate", "--engine", "spark", "--out", tmp_path / "run")
    assert (done.returncode, done.stderr) == (2, "error: unknown engine 'spark': choose one of processes, flower\n")
    on_ray = ktl("federate", "--engine", "ray", "--out", tmp_path / "run")
    assert (on_ray.returncode, on_ray.stderr) == (
        2,
        "error: unknown engine 'ray': Flower's simulation runs on Ray, so give --engine flower\n",
    )
    secure = ktl("federate", "--secure-aggregation", "--method", "fedktl", "--out", tmp_path / "run")
    assert secure.returncode == 2
    assert "give --engine flower" in secure.stderr


def test_a_name_that_flower_cannot_take_is_refused(tmp_path: Path) -> None:
    done = run("edge", "join", "--superlink", "127.0.0.1:1", "--client", 0, "--data", 'my "photos"')
    assert done.returncode == 2
    assert "quotes" in done.stderr or "pip install 'ktl[flower]'" in done.stderr
