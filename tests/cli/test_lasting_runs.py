"""A finished run stays what it was, whatever becomes of the folder that it was made of, and works without it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ktl.data.settings import DataConfig
from ktl.edge.run import train_edge
from ktl.edge.settings import RunConfig
from ktl.files import file_digest
from ktl.learning.settings import TrainingConfig

Ktl = Callable[..., subprocess.CompletedProcess[str]]
CLASSES = ("ash", "elm", "oak")


def add_noise(folder: Path, count: int, first: int = 0) -> None:
    """Pictures that cannot be told apart, a few of each class."""
    for index, label in enumerate(CLASSES):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            pixels = np.random.default_rng([index, number]).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number:03d}.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos` and a finished `run` of them."""
    folder = tmp_path_factory.mktemp("made")
    config = RunConfig(
        data=DataConfig("photos", shots=3, image_size=16), training=TrainingConfig(steps=4), transfer=None, threads=1
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        add_noise(Path("photos"), 8)
        train_edge(config, Path("run"))
    return folder


@pytest.fixture
def photos(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of both, in the folder that one is in."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("photos")


@pytest.fixture
def run(photos: Path) -> Path:
    return Path("run")


def digests(run: Path) -> dict[str, str]:
    return {str(file): file_digest(file) for file in sorted(run.rglob("*")) if file.is_file()}


def accuracy(ktl: Ktl, *arguments: object) -> tuple[float, str]:
    ended = ktl("edge", "evaluate", *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)["accuracy"], ended.stderr


def changes(photos: Path) -> Iterator[str]:
    """What becomes of the folder, one thing after the other: each leaves the images of the run somewhere in it."""
    add_noise(photos, 4, first=100)
    yield f"{photos} has 12 further files that this run does not use\n"
    (photos / "ash").rename(photos / "zebra wood")
    yield f"{photos} has 12 further files that this run does not use\n"
    (photos / "elm").rename(photos / "ash")
    add_noise(photos, 1, first=200)
    (photos / "birch").mkdir()
    yield f"{photos} has 15 further files that this run does not use\n"


def test_a_finished_run_stays_the_same_whatever_is_done_with_it(ktl: Ktl, photos: Path, run: Path) -> None:
    before, (measured, remarks) = digests(run), accuracy(ktl, run)
    assert remarks == ""
    for line in changes(photos):
        assert accuracy(ktl, run) == (measured, line)
        resumed = ktl("edge", "train", "--resume", run, "--json")
        assert resumed.returncode == 0, resumed.stderr
        assert resumed.stderr == ""
        assert json.loads(resumed.stdout)["test_accuracy"] == measured
    exported = ktl("export", run, "--out", "bundle")
    assert (exported.returncode, exported.stderr) == (0, line)
    assert ktl("report", run, "--out", "report.html").returncode == 0
    assert digests(run) == before
    assert json.loads(Path("bundle/labels.json").read_text()) == list(CLASSES)
    assert Path("bundle/model.onnx").read_bytes() == (run / "model.onnx").read_bytes()


def test_a_run_whose_images_changed_is_refused_with_their_names(ktl: Ktl, photos: Path, run: Path) -> None:
    tested = json.loads((run / "data.json").read_text())["files"]["test"]
    changed, gone = next(iter(tested["ash"])), next(iter(tested["oak"]))
    Image.new("RGB", (16, 16)).save(photos / changed)
    (photos / gone).unlink()
    before, count = digests(run), sum(map(len, tested.values()))
    ended = ktl("edge", "evaluate", run)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"error: 2 of {count} files that this run needs are not in photos as they were: {changed} (changed), {gone} "
        "(gone); put them back, name a folder that has them by --data, or train anew\n"
    )
    exported = ktl("export", run, "--out", "bundle")
    assert exported.returncode == 0, exported.stderr
    assert "; compared on the pictures that the run keeps\n" in exported.stderr
    assert digests(run) == before


def test_an_unfinished_run_goes_on_with_the_same_images(ktl: Ktl, photos: Path, run: Path) -> None:
    (run / "model.onnx").rename("model.onnx")  # as if it had been killed before it was written
    before = digests(run)
    add_noise(photos, 3, first=100)
    (photos / "ash").rename(photos / "zebra wood")
    photos.rename("moved")
    refused = ktl("edge", "train", "--resume", run)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "photos, the data of this run, is not here: name the folder that holds it now by --data" in refused.stderr
    ended = ktl("edge", "train", "--resume", run, "--data", "moved")
    assert ended.returncode == 0, ended.stderr
    assert "moved has 9 further files that this run does not use" in ended.stderr
    assert (run / "model.onnx").read_bytes() == Path("model.onnx").read_bytes()
    (run / "model.onnx").unlink()
    after = digests(run)
    assert {name for name in before if after[name] != before[name]} <= {"run/checkpoint.safetensors", "run/report.html"}


def test_an_older_run_goes_on_as_before_and_says_that_nothing_is_checked(ktl: Ktl, photos: Path, run: Path) -> None:
    (run / "data.json").unlink()
    add_noise(photos, 4, first=100)
    ended = ktl("edge", "evaluate", run, "--json")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == "run was made before runs kept what they are made of: its data cannot be checked\n"
    assert [sum(row) for row in json.loads(ended.stdout)["confusion"]] == [3, 3, 3]  # a quarter of 12, by number


def test_a_run_works_where_its_data_is_not(ktl: Ktl, photos: Path, run: Path, tmp_path: Path) -> None:
    measured, _ = accuracy(ktl, run)
    picture = shutil.copy(next(photos.rglob("*.png")), tmp_path / "one.png")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved, data = run.rename(elsewhere / "run"), photos.rename(elsewhere / "data")
    exported = ktl("export", moved, "--int8", "--max-drop", "100", "--out", "bundle")
    assert exported.returncode == 0, exported.stderr
    assert exported.stderr == (
        "photos, the data of this run, is not here: name the folder that holds it now by --data; "
        "compared on the pictures that the run keeps\n"
    )
    assert "float32's class" in exported.stdout
    assert "int8, calibrated on the labelled images that the run keeps by " in exported.stdout
    assert "of the pictures that the run keeps; its data was not at hand" in Path("bundle/card.md").read_text()
    for command in (("edge", "predict", moved, picture), ("report", moved)):
        ended = ktl(*command)
        assert ended.returncode == 0, ended.stderr
    refused = ktl("edge", "evaluate", moved)
    assert (refused.returncode, "by --data" in refused.stderr) == (1, True)
    assert accuracy(ktl, moved, "--data", data) == (measured, "")
    assert "the same model as in torch" in ktl("export", moved, "--data", data, "--out", "checked").stdout


def test_other_data_is_matched_by_class_names(ktl: Ktl, photos: Path, run: Path) -> None:
    assert ktl("export", run, "--out", "bundle").returncode == 0
    unnamed = ktl("edge", "evaluate", "bundle")
    assert (unnamed.returncode, "name a folder of some by --data" in unnamed.stderr) == (2, True)
    add_noise(Path("other"), 5, first=300)
    shutil.rmtree("other/oak")
    Path("other/elm").rename("other/yew")
    shutil.copytree(photos / "ash", "other/ash", dirs_exist_ok=True)
    share, remarks = accuracy(ktl, "bundle", "--data", "other")
    assert remarks == (
        "other has no picture of: elm, oak\n"
        "left out of other: 5 pictures of classes that the model does not know: yew\n"
    )
    predicted = ktl("edge", "predict", "bundle", "other/ash", "--json").stdout.splitlines()
    assert share == np.mean([json.loads(line)["label"] == "ash" for line in predicted])
    learnt = len(json.loads((run / "data.json").read_text())["files"]["train"]["ash"])
    _, remarks = accuracy(ktl, run, "--data", "other")
    assert remarks.startswith(
        f"left out of other: {learnt} pictures that the run had to learn from\n"
        "other is other data than run was made of\n"
    )
    shutil.rmtree("other/ash")
    refused = ktl("edge", "evaluate", "bundle", "--data", "other")
    assert (refused.returncode, refused.stderr) == (
        1,
        "error: other has no picture to test on of the classes that the model knows (ash, elm, oak)\n",
    )


def test_a_federation_is_made_of_the_same_images_to_its_end(ktl: Ktl, photos: Path) -> None:
    options = (
        "federate",
        "--data",
        photos,
        "--clients",
        "2",
        "--partition",
        "iid",
        "--method",
        "local",
        "--rounds",
        "1",
    )
    options += ("--steps", "2", "--image-size", "16", "--workers", "0", "--out", "runs", "--json")
    first = ktl(*options)
    assert first.returncode == 0, first.stderr
    before = digests(Path("runs"))
    add_noise(photos, 4, first=100)
    (photos / "ash").rename(photos / "zebra wood")
    again = ktl(*options, "--resume")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["local"] == json.loads(first.stdout)["local"]
    exported = ktl("export", "runs/local", "--client", "1", "--out", "bundle")
    assert exported.returncode == 0, exported.stderr
    assert "photos has 12 further files that this run does not use" in exported.stderr
    assert json.loads(Path("bundle/labels.json").read_text()) == list(CLASSES)
    assert digests(Path("runs")) == before
    next((photos / "oak").iterdir()).unlink()
    refused = ktl("export", "runs/local", "--client", "1", "--out", "another")
    assert (refused.returncode, refused.stderr.startswith("error: 1 of 24 files that this run needs are not in ")) == (
        1,
        True,
    )
