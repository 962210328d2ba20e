"""The console script itself: how fast it answers, and how errors leave it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Ktl = Callable[..., subprocess.CompletedProcess[str]]

SLOW_IMPORTS = {
    "torch",
    "torchvision",
    "onnx",
    "onnxscript",
    "matplotlib",
    "pydantic",
    "jinja2",
    "diffusers",
    "transformers",
    "flwr",
    "ray",
}


def imported_by(command: list[str]) -> set[str]:
    """The modules that a console script imports, by Python's own record."""
    ended = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True)
    return set(re.findall(r"^import time:.*\| +([\w.]+)$", ended.stderr, flags=re.MULTILINE))


def test_waiting_threads_sleep_unless_the_user_says_otherwise(script: str) -> None:
    command = [script, "generator", "show"]  # loads torch, whose OpenMP prints its settings
    for asked, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = os.environ | {"OMP_DISPLAY_ENV": "true"} | ({"OMP_WAIT_POLICY": asked} if asked else {})
        ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert re.findall(r"OMP_WAIT_POLICY *= *'?(\w+)", ended.stderr) == [expected]


@pytest.mark.timing
def test_help_is_fast_and_imports_nothing_heavy(script: str, processor_seconds: Callable[..., float]) -> None:
    ended = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert {"datasets", "models", "edge", "generator"} <= set(ended.stdout.split())
    assert processor_seconds(script, "--help") <= 0.5
    modules = imported_by([script, "--help"])
    assert {"typer", "ktl_cli"} <= modules
    assert modules.isdisjoint(SLOW_IMPORTS)


def test_predict_imports_no_torch(script: str, trained: Path, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (140, 105, 110)).save(tmp_path / "red.png")
    modules = imported_by([script, "edge", "predict", str(trained), str(tmp_path / "red.png")])
    assert {"onnxruntime", "PIL.Image", "ktl"} <= modules
    assert modules.isdisjoint(SLOW_IMPORTS | {"PIL.PdfImagePlugin"})  # of the forty formats only those that are read


@pytest.mark.timing
def test_predict_answers_within_seven_tenths_of_a_second(
    script: str, trained: Path, tmp_path: Path, processor_seconds: Callable[..., float]
) -> None:
    Image.new("RGB", (16, 16), (140, 105, 110)).save(tmp_path / "red.png")
    assert processor_seconds(script, "edge", "predict", trained, tmp_path / "red.png") <= 0.7


def test_version_is_that_of_the_package(ktl: Ktl) -> None:
    ended = ktl("--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"ktl {version('ktl')}\n", "")


@pytest.mark.parametrize("command", [["--help"], ["edge", "--help"], ["generator", "--help"]])
def test_help_goes_to_standard_output(ktl: Ktl, command: list[str]) -> None:
    ended = ktl(*command)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Usage: ktl" in ended.stdout


def test_training_help_shows_the_choices_and_defaults(ktl: Ktl) -> None:
    text = re.sub(r"[│\s]+", " ", ktl("edge", "train", "--help").stdout)
    for option, default in {
        "--shots": "2",
        "--rounds": "1",
        "--alignment": "robust",
        "--data": "fashion-mnist",
    }.items():
        assert re.search(rf"{option} [^[]*\[default: {default}\]", text), option
    assert "robust | pooled | random | published" in text
    assert "image-vector | contrastive | image-vector+contrastive | mse" in text
    assert "tuned | published" in text


def test_an_error_is_one_line_and_a_traceback_comes_with_debug_only(ktl: Ktl) -> None:
    message = "error: unknown recipe 'secret': choose one of tuned, published"
    plain = ktl("edge", "train", "--recipe", "secret")
    assert (plain.returncode, plain.stdout, plain.stderr) == (2, "", f"{message}\n")
    debug = ktl("--debug", "edge", "train", "--recipe", "secret")
    assert debug.returncode == 2
    assert debug.stderr.startswith("Traceback (most recent call last):\n")
    assert debug.stderr.endswith(f"\n{message}\n")
    assert ktl("edge", "train", "--recipe", "secret").stderr == plain.stderr


def test_an_error_in_colour_shows_brackets_and_colons_as_they_are(script: str) -> None:
    command = [script, "edge", "train", "--recipe", "[/red]:dog:[bold]"]
    environment = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 2
    assert "\x1b[31m" in ended.stderr
    text = re.sub(r"\x1b\[[0-9;]*m", "", ended.stderr)
    assert text == "error: unknown recipe '[/red]:dog:[bold]': choose one of tuned, published\n"


def test_an_error_that_nobody_foresaw_is_one_line_too(ktl: Ktl, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ktl_cli.evaluate._evaluated", lambda *asked: [][len(asked)])
    ended = ktl("edge", "evaluate", trained)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "error: unexpected IndexError: list index out of range; --debug shows where\n"


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("edge train --rounds two", "--rounds"),
        ("edge tarin", "tarin"),
        ("--verbose", "--verbose"),
    ],
)
def test_a_malformed_command_line_is_a_usage_error(ktl: Ktl, command: str, wrong: str) -> None:
    ended = ktl(*command.split())
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("Usage: ktl")
    assert wrong in ended.stderr


def test_a_data_set_that_is_no_archive_is_named_in_one_line(ktl: Ktl, tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    ended = ktl("edge", "train", "--local-only", "--data", tmp_path / "one.npz", "--out", tmp_path / "run")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(rf"error: .*{re.escape(str(tmp_path / 'one.npz'))}.*\n", ended.stderr)
