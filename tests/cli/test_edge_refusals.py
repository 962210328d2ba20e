"""What `ktl edge` refuses: one line that names the value and the fix, an exit code, nothing on stdout."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Ktl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "--alignment",
            "perfect",
            "unknown alignment 'perfect': choose one of robust, pooled, random, published, or module:Class",
        ),
        (
            "--transfer",
            "magic",
            r"unknown transfer 'magic': choose one of image-vector, contrastive, image-vector\+contrastive, mse, or .*",
        ),
        ("--model", "cnn5", "unknown model 'cnn5': choose one of cnn4, resnet4, .*"),
        ("--recipe", "secret", "unknown recipe 'secret': choose one of tuned, published"),
        ("--device", "abacus", "device is 'abacus': give one of cpu, cuda, mps"),
        ("--generator", "builtout", "unknown generator 'builtout': give 'builtin', 'latent-flow', the path of .*"),
        ("--data", "nowhere", "no data set 'nowhere': give a folder, an .npz file, or one of fashion-mnist, mnist, .*"),
        ("--steps", "0", "training.steps is 0: give a whole number of at least 1 .*"),
        ("--pairs-per-class", "0", "cloud.pairs_per_class is 0: give a whole number of at least 1 .*"),
        ("--image-size", "-5", "data.image_size is -5: give a whole number of at least 4, or none"),
        ("--set", "training.batch", "--set training.batch is no assignment: give NAME=VALUE, .*"),
        ("--set", "training.batch=-3", "training.batch is -3: give a whole number of at least 1.*"),
        ("--set", "transfer.temperature=cold", "temperature is 'cold': give a number above 0"),
        ("--set", "transfer.tempo=1", "there is no setting transfer.tempo: choose one of .*transfer.temperature.*"),
        ("--set", "training.schedule=typo", "training.schedule is 'typo': give one of one-cycle, constant"),
        ("--shots", "0", "shots is '0': give a whole number of at least 1, 'all' or 'up to 20'"),
        ("--ways", "99", "--ways is 99: colours has 3 classes, so give 2 to 3"),
        ("--rounds", "0", "rounds is 0: give a whole number of at least 1 .*"),
        ("--rounds", "21", "20 steps over 21 rounds: give at least one step per round"),
        ("--seed", "-1", "seed is -1: give a whole number of at least 0 and below 2147483648"),
        ("--image-size", "8", "model cnn4 needs images of at least 16 x 16, not 8: set --image-size 32"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line_and_exit_code_2(
    ktl: Ktl, options: list[str], tmp_path: Path, option: str, value: str, message: str
) -> None:
    ended = ktl("edge", "train", *options, "--out", tmp_path / "run", option, value)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(f"error: {message}\n", ended.stderr), ended.stderr
    assert not (tmp_path / "run").exists()


def test_more_shots_than_there_are_images_fail_with_the_class(ktl: Ktl, options: list[str], tmp_path: Path) -> None:
    ended = ktl("edge", "train", *options, "--out", tmp_path / "run", "--shots", "11")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(r"error: class 'blue' has 10 images to train on, fewer than 11 shots; .*\n", ended.stderr)


def test_a_missing_generator_file_is_named(ktl: Ktl, options: list[str], tmp_path: Path) -> None:
    ended = ktl("edge", "train", *options, "--generator", tmp_path / "gone.safetensors", "--out", tmp_path / "run")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(rf"error: there is no generator file {tmp_path}/gone\.safetensors; .*\n", ended.stderr)


def test_an_out_that_holds_a_run_is_refused(ktl: Ktl, options: list[str], trained: Path) -> None:
    ended = ktl("edge", "train", *options, "--out", trained)
    message = (
        f"error: {trained} already holds a run: go on with ktl edge train --resume {trained} or name another --out\n"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", message)


def test_resuming_a_folder_without_a_run_is_refused(ktl: Ktl, tmp_path: Path) -> None:
    for command in (["train", "--resume", tmp_path], ["evaluate", tmp_path]):
        ended = ktl("edge", *command)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == f"error: there is no run at {tmp_path}: config.json is missing\n"
    predicted = ktl("edge", "predict", tmp_path, tmp_path / "a.png")
    assert (predicted.returncode, predicted.stdout) == (1, "")
    assert re.fullmatch(rf"error: {tmp_path} holds no finished run: .*\n", predicted.stderr)


def test_resuming_from_a_damaged_checkpoint_is_refused(ktl: Ktl, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "checkpoint.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00damaged!")
    ended = ktl("edge", "train", "--resume", run)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(rf"error: {run}/checkpoint\.safetensors is damaged or no ktl checkpoint .*\n", ended.stderr)
