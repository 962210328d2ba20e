"""The console script as a user starts it, and the same entry point in this process where starting one costs seconds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ktl_cli.main import main


@pytest.fixture(scope="session")
def script() -> str:
    """The installed console script."""
    return str(Path(sys.executable).with_name("ktl"))


@pytest.fixture
def ktl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """ktl("edge", "train", ...) runs the console script's function in this process."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = ["ktl", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(command, int(ended.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def options(small_bundle: Path, tiny_generator_file: Path) -> list[str]:
    """A task of two rounds that takes a second."""
    numbers = "--shots 4 --rounds 2 --steps 20 --warmup-steps 10 --pairs-per-class 8 --threads 1"
    return ["--data", str(small_bundle), "--generator", str(tiny_generator_file), *numbers.split()]


@pytest.fixture(scope="session")
def training(
    script: str, options: list[str], tmp_path_factory: pytest.TempPathFactory
) -> subprocess.CompletedProcess[str]:
    """The console script's run of `options`."""
    out = tmp_path_factory.mktemp("training") / "run"
    command = [script, "edge", "train", *options, "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.fixture
def trained(training: subprocess.CompletedProcess[str]) -> Path:
    """The run directory of `training`; tests that change files work on a copy."""
    return Path(training.args[-1])
