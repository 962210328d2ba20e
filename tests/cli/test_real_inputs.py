"""Folders and pictures as people have them: what each gives is what the README of shared/faults calls right."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ktl.data import load_dataset
from ktl.data.dataset import Dataset
from ktl.data.fewshot import draw_task
from ktl.data.images import read_image
from ktl.errors import DataError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "faults"
pytestmark = pytest.mark.skipif(not (SHARED / "make_folders.py").is_file(), reason="needs shared/faults")

Ktl = Callable[..., subprocess.CompletedProcess[str]]
SPLITS = (
    *("train-val", "train-valid", "train-validation", "Train-Test", "training-testing", "TRAIN-VAL"),
    "train_images-test_images",
)
SAME = ("grey8.png", "grey16.png", "grey12in16.png", "float01.tif", "float255.tif", "int32.tif")
OF_COLOUR = ("cmyk.jpg", "palette.png", "rgba.png", "big-text.png", "big-profile.png")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folders")
    subprocess.run([sys.executable, SHARED / "make_folders.py", out], check=True)
    return out


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("images")
    subprocess.run([sys.executable, SHARED / "make_images.py", out], check=True)
    return out


def counts(dataset: Dataset) -> dict[str, tuple[int, int]]:
    """Training and test images of each class."""
    splits = [np.bincount(part.labels, minlength=len(dataset.class_names)) for part in (dataset.train, dataset.test)]
    return {name: (int(splits[0][i]), int(splits[1][i])) for i, name in enumerate(dataset.class_names)}


@pytest.mark.parametrize("name", SPLITS)
def test_splits(folders: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    dataset = load_dataset(str(folders / "splits" / name))
    assert counts(dataset) == {"blue": (8, 4), "red": (8, 4)}
    train, test = name.split("-")
    assert f"trains on {train}/, tests on {test}/" in caplog.text


def test_a_class_called_train(folders: Path) -> None:
    assert load_dataset(str(folders / "class_called_train")).class_names == ["bus", "car", "train", "tram"]


def test_helpers(folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = counts(load_dataset(str(folders / "helpers")))
    assert {name: sum(both) for name, both in found.items()} == {"blue": 8, "red": 8}
    assert caplog.text.count("left out of") == 1
    assert "10 helper files" in caplog.text


def test_formats(folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = counts(load_dataset(str(folders / "formats")))
    assert sum(found["red"]) == 20
    assert "4 .heic (install pillow-heif)" in caplog.text


def test_damaged(folders: Path) -> None:
    with pytest.raises(DataError, match="5 of 40 pictures cannot be used") as caught:
        load_dataset(str(folders / "damaged"))
    assert re.findall(r"red/(\d+)\.jpg", str(caught.value)) == ["001", "005", "009", "013", "017"]
    found = counts(load_dataset(str(folders / "damaged"), skip_damaged=True))
    assert sum(sum(both) for both in found.values()) == 35


def test_accents(folders: Path) -> None:
    assert counts(load_dataset(str(folders / "names" / "accents"))) == {"café": (8, 8), "tea": (8, 8)}


@pytest.mark.parametrize("name", SAME)
def test_depths_of_one_pattern(images: Path, name: str) -> None:
    shown = read_image(images / name, 48, channels=1).astype(int)
    assert np.abs(shown - read_image(images / "grey8.png", 48, channels=1)).max() <= 1


@pytest.mark.parametrize("name", OF_COLOUR)
def test_modes_of_one_picture(images: Path, name: str) -> None:
    shown = read_image(images / name, 48, channels=3).astype(int)
    whole = read_image(images / "rgba.png", 48, channels=3)
    loss = {"cmyk.jpg": 12, "palette.png": 18}.get(name, 0)  # on average: compressed, 216 colours
    assert np.abs(shown - whole).mean() <= loss


@pytest.mark.parametrize("name", ["turned.jpg", "turned-bad-rational.jpg"])
def test_turned_photographs(images: Path, name: str) -> None:
    upright = read_image(images / name, 48, channels=3).astype(int)
    lying = read_image(images / "rgba.png", 48, channels=3)
    assert np.abs(upright - np.rot90(lying, -1)).mean() < 12


@pytest.mark.parametrize(
    ("name", "kind"),
    [("page.jpg", "it is a web page"), ("empty.jpg", "it is an empty file"), ("half.jpg", "cut short")],
)
def test_what_is_no_picture(images: Path, name: str, kind: str) -> None:
    with pytest.raises(DataError, match=rf"{name}: .*{kind}"):
        read_image(images / name, 48, channels=3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "thermal"])
def test_sixteen_bits_on_the_device(ktl: Ktl, folders: Path, kind: str, tmp_path: Path) -> None:
    """Desktop and bundle agree on all 40 pictures, and are right."""
    data, run, bundle = folders / "sixteen_bit" / kind, tmp_path / "run", tmp_path / "bundle"
    trained = ktl("edge", "train", "--local-only", "--data", data, "--shots", 8, "--steps", 120, "--out", run)
    assert trained.returncode == 0, trained.stderr
    assert ktl("export", run, "--out", bundle).returncode == 0
    pictures = sorted(data.glob("*/*.png"))
    desktop = ktl("edge", "predict", run, *pictures).stdout
    device = subprocess.run(
        [sys.executable, bundle / "predict.py", *pictures], capture_output=True, text=True, check=True
    ).stdout
    answers = [re.findall(r"(upright|flat)/(\d+)\.png\W+(upright|flat)", text) for text in (desktop, device)]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 40
    assert sum(true == told for true, _, told in answers[0]) > 36


def right_and_tested(output: str) -> tuple[int, int]:
    """Right and tested pictures, as `ktl edge evaluate` says them."""
    right, of = re.findall(r"test accuracy: (\d+) of (\d+) right", output)[0]
    return int(right), int(of)


def trained(ktl: Ktl, data: Path, run: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """A short run without a cloud."""
    given = {"shots": 2, "steps": 2, "threads": 1} | options
    flags = [part for name, value in given.items() for part in (f"--{name}", value)]
    ended = ktl("edge", "train", "--local-only", "--data", data, "--out", run, *flags)
    assert ended.returncode == 0, ended.stderr
    return ended


@pytest.mark.slow
def test_noise_that_more_photographs_do_not_change(ktl: Ktl, folders: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(folders / "noise_only" / "photos", data)
    trained(ktl, data, run, shots=10, steps=30)
    before = ktl("edge", "evaluate", run)
    right, of = right_and_tested(before.stdout)
    assert right / of < 0.7  # chance is a third
    shutil.copytree(folders / "noise_only" / "more", data, dirs_exist_ok=True)
    after = ktl("edge", "evaluate", run)
    assert after.stdout == before.stdout
    assert "12 further files that this run does not use" in after.stderr
    (data / "a").rename(data / "z")
    assert ktl("edge", "evaluate", run).stdout == before.stdout
    kept = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    assert ktl("edge", "train", "--resume", run).returncode == 0
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == kept


def test_a_name_that_is_not_utf8(ktl: Ktl, folders: Path, tmp_path: Path) -> None:
    data, run = folders / "names" / "latin1", tmp_path / "run"
    trained(ktl, data, run)
    for command in (("export", run), ("report", run), ("edge", "evaluate", run)):
        ended = ktl(*command)
        assert ended.returncode == 0, ended.stderr
    pictures = sorted(data.glob("*/*.jpg"))
    device = subprocess.run([sys.executable, run / "bundle" / "predict.py", *pictures], capture_output=True, check=True)
    assert device.stdout.count(b"caf\xe9/") == 8


@pytest.mark.slow
def test_wide_pictures(ktl: Ktl, folders: Path, tmp_path: Path) -> None:
    data = folders / "wide"
    for fit in ("pad", "stretch"):
        run = tmp_path / fit
        trained(ktl, data, run, shots=10, steps=90, fit=fit)
        right, of = right_and_tested(ktl("edge", "evaluate", run).stdout)
        assert right / of > 0.9
    assert "a third of" in trained(ktl, data, tmp_path / "crop").stderr


def test_classes_of_unequal_size(folders: Path) -> None:
    dataset = load_dataset(str(folders / "unequal"))
    task = draw_task(dataset, shots="all", ways=None, seed=0)
    held_out = len(task.test_labels)
    assert len(task.shot_labels) == 75 - held_out
    assert task.shot_labels.bincount().min() >= 1
