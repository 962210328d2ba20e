"""Folders of photographs as people have them, through the commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ktl.data import data_name

Ktl = Callable[..., subprocess.CompletedProcess[str]]
TRAIN = ("edge", "train", "--local-only", "--steps", "2", "--shots", "2", "--threads", "1")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 4, beside a text and a helper; the one class's name is decomposed, as on macOS."""
    for label, level in (("cafe\u0301", 60), ("tea", 180)):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng(number).integers(level - 40, level + 40, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.jfif", "JPEG")
    (tmp_path / "photos" / "tea" / "notes.txt").write_text("none")
    (tmp_path / "photos" / "._tea.jpg").write_bytes(b"helper")
    return tmp_path / "photos"


@pytest.mark.slow
def test_the_folder_one_is_in_is_trained_on_again_and_again(
    ktl: Ktl, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    Path("cafe\u0301").rename(os.fsdecode(b"caf\xe9"))
    first = ktl(*TRAIN, "--data", ".")
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("left out of .: 1 .txt, 1 helper file\n") == 1
    run = Path("runs/photos-2shot-seed0")
    assert json.loads((run / "labels.json").read_text()) == ["café", "tea"]
    evaluated = ktl("edge", "evaluate", run)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "left out of .: 1 .txt, 1 helper file, 1 run folder\n" in evaluated.stderr
    command = [sys.executable, "-c", "from ktl_cli.main import script; script()", "edge", "predict", str(run), "."]
    predicted = subprocess.run(command, capture_output=True, check=True).stdout
    assert (predicted.count(b".jfif: "), predicted.count(b"caf\xe9/")) == (8, 4)
    assert ktl("export", run).returncode == 0
    assert ktl("report", run).returncode == 0


def test_an_out_that_holds_the_data_is_refused_before_training(ktl: Ktl, photos: Path) -> None:
    for out in (photos, photos / "tea"):
        ended = ktl(*TRAIN, "--data", photos, "--out", out)
        assert ended.returncode == 2
        assert ended.stderr.endswith(
            f"error: {out} holds the data itself: name another --out, such as {out / 'run'} or one beside the data\n"
        )
        assert not (out / "config.json").exists()


def test_damaged_pictures_are_refused_together_or_skipped(ktl: Ktl, photos: Path) -> None:
    for name in ("tea/0.jfif", "tea/1.jfif"):
        (photos / name).write_bytes((photos / name).read_bytes()[:200])
    shown = ktl("partition", "show", "--data", photos, "--clients", "2", "--partition", "iid")
    assert shown.returncode == 1
    assert "2 of 8 pictures cannot be used" in shown.stderr
    assert shown.stderr.count("cannot read the image") == 2
    shown = ktl("partition", "show", "--data", photos, "--clients", "2", "--partition", "iid", "--skip-damaged")
    assert (shown.returncode, "2 clients, 6 images" in shown.stdout) == (0, True), shown.stderr
    assert "skipped 2 of 8 pictures" in shown.stderr


def test_a_folder_called_like_ktls_own_data_is_told_apart(
    ktl: Ktl, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.rename(photos.with_name("fashion-mnist"))
    monkeypatch.chdir(photos.parent)
    shown = ktl("partition", "show", "--clients", "2")
    assert "10 classes" in shown.stdout
    assert shown.stderr == (
        "--data fashion-mnist is the data set that ktl knows by this name; for what lies here write ./fashion-mnist\n"
    )
    own = ktl("partition", "show", "--data", "./fashion-mnist", "--clients", "2", "--partition", "iid")
    assert "2 clients, 8 images" in own.stdout


def test_runs_are_called_by_their_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.photos").mkdir()
    monkeypatch.chdir(tmp_path / "my.photos")
    assert [data_name(source) for source in (".", "../my.photos", "x/pets.npz", "mnist", "own:shapes")] == [
        *("my.photos", "my.photos", "pets", "mnist", "own:shapes")
    ]
