"""`ktl cloud session`, and `ktl edge train --session` of a device that has photographs of some classes only."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.hall import Hall

from ktl.data.npz import load_bundle
from ktl.edge.run import load_pooled
from ktl.methods.fedktl import mapped_images
from ktl.wire import decode_statistics

Ktl = Callable[..., subprocess.CompletedProcess[str]]
At = Callable[[str], list[str]]


@pytest.fixture
def at(hall: Hall) -> At:
    """Where the cloud is, and the token of a name."""
    return lambda name: ["--cloud", hall.server.url, "--token-file", str(hall.tokens / f"{name}.token")]


@pytest.fixture(scope="module")
def line(hall: Hall, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a session that nobody has begun."""
    hall.create(tmp_path_factory.mktemp("line") / "create.log", "line", "--edges", "cam-1")
    return "line"


@pytest.fixture(scope="module")
def photos(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of three classes as folders of pictures."""
    folder, dataset = tmp_path_factory.mktemp("device") / "photos", load_bundle(small_bundle, None)
    for label, name in enumerate(dataset.class_names[1:], start=1):
        (folder / name).mkdir(parents=True)
        for number in np.flatnonzero(dataset.train.labels == label):
            Image.fromarray(np.asarray(dataset.train.images[[number]])[0]).save(folder / name / f"{number}.png")
    return folder


def test_a_session_from_creation_to_deletion(ktl: Ktl, hall: Hall, at: At, tmp_path: Path) -> None:
    classes = hall.parts / "classes.txt"
    create = ["cloud", "session", "create", "--name", "line-1", "--classes", classes, *at("cam-4")]
    made = ktl(*create, "--edges", "cam-1,cam-2")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("created: line-1 (")
    listed = [json.loads(line) for line in ktl("cloud", "session", "list", "--json", *at("cam-2")).stdout.splitlines()]
    (own,) = [each for each in listed if each["name"] == "line-1"]
    assert (own["members"], own["quorum"], own["rounds"], own["deadline"]) == (["cam-1", "cam-2"], 2, 5, 3600.0)
    assert (own["owner"], own["request"]["image_size"], own["request"]["channels"]) == ("cam-4", 64, 3)
    assert not {"blue", "green", "red"} & set(json.dumps(own).split('"'))
    table = ktl("cloud", "session", "list", *at("cam-1")).stdout
    assert "line-1" in table
    assert "0 of 5" in table
    again = ktl(*create, "--edges", "cam-1")
    assert (again.returncode, "has a session called 'line-1'" in again.stderr) == (1, True)
    assert ktl("cloud", "session", "delete", "line-1", *at("cam-1")).returncode == 1  # not its own
    assert ktl("cloud", "session", "delete", "line-1", *at("cam-4")).stdout == f"deleted: line-1 ({own['id']})\n"
    gone = ktl("cloud", "session", "show", "line-1", *at("cam-4"))
    assert (gone.returncode, "has no session 'line-1' for this token" in gone.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--edges", " , "], "--edges names no device"),
        (["--edges", "cam-1", "--quorum", "2"], "--quorum is 2, and --edges has 1"),
        (["--edges", "cam-1", "--deadline", "soon"], "--deadline is 'soon'"),
        (["--edges", "cam-1", "--download-budget", "100"], "download_budget is 100"),
        (["--edges", "cam-1", "--alignment", "perfect"], "unknown alignment 'perfect'"),
        (["--edges", "nobody"], "there is no token of this name"),
    ],
)
def test_a_session_that_cannot_be_is_refused(ktl: Ktl, hall: Hall, at: At, options: list[str], reason: str) -> None:
    create = ["cloud", "session", "create", "--name", "odd", "--classes", hall.parts / "classes.txt"]
    made = ktl(*create, *options, *at("admin"))
    assert made.returncode in (1, 2)
    assert reason in made.stderr


def test_a_device_with_some_of_the_classes_learns_and_reports(
    ktl: Ktl, hall: Hall, at: At, photos: Path, tmp_path: Path
) -> None:
    hall.create(tmp_path / "create.log", "photos", "--edges", "cam-1", "--rounds", 1)
    run, classes = tmp_path / "run", hall.parts / "classes.txt"
    numbers = ["--shots", 1, "--steps", 8, "--warmup-steps", 4]
    train = ["edge", "train", "--data", photos, "--session", "photos", *numbers, *at("cam-1")]
    alone = ktl(*train, "--out", run)
    assert alone.returncode == 2
    assert "this data's classes (green, red) are not the 3 of the session 'photos'" in alone.stderr
    done = ktl(*train, "--out", run, "--classes", classes, "--epsilon", 8, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["noise"] == {"epsilon": 8.0, "delta": 1e-5}
    assert told["session"] == {"rounds": 1, "edges": ["cam-1"], "late": {}}
    assert json.loads((run / "labels.json").read_text()) == ["blue", "green", "red"]
    settings = json.loads((run / "config.json").read_text())
    assert (settings["seed"], settings["rounds"], settings["cloud"]["alignment"]["name"]) == (3, 1, "pooled")
    report = (run / "report.html").read_text()
    assert "With other devices: session photos" in report
    assert "noise of epsilon 8, delta 1e-05" in report
    sent = decode_statistics((run / "wire" / "round-001-statistics-0.safetensors").read_bytes(), 3, 16)
    without = mapped_images(load_pooled(run)[0]).statistics
    assert sent.classes.tolist() == without.classes.tolist()
    assert (sent.sums - without.sums).std() > 0.1  # int8 alone is a hundredth off
    tested = json.loads(ktl("edge", "evaluate", run, "--json").stdout)
    assert (tested["accuracy"], tested["class_accuracy"]["blue"]) == (told["test_accuracy"], None)
    shown = ktl("cloud", "session", "show", "photos", *at("cam-1")).stdout
    assert "1 of 1" in shown


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--rounds", "3"], "--rounds and --session exclude each other"),
        (["--set", "cloud.alignment.spread=0.5"], "--spread and --session exclude each other"),
        (["--folds", "5"], "--folds and --session exclude each other"),
        (["--local-only"], "--session line is on a cloud elsewhere"),
        (["--client", "0", "--shots", "3"], "--client and --shots exclude each other"),
        (["--client", "0", "--warm-start", "cloud"], "the session 'line' has no warm start of cnn4"),
        (["--client", "9"], "--client is 9"),
    ],
)
def test_options_that_do_not_go_with_a_session_are_refused(
    ktl: Ktl, hall: Hall, at: At, options: list[str], reason: str, line: str, tmp_path: Path
) -> None:
    train = ["edge", "train", "--data", hall.parts, "--session", line, "--out", tmp_path / "run"]
    given = ktl(*train, *options, *at("cam-1"))
    assert (given.returncode, reason in given.stderr) == (2, True), given.stderr


def test_noise_is_for_a_session(ktl: Ktl, tmp_path: Path) -> None:
    given = ktl("edge", "train", "--epsilon", 8, "--out", tmp_path / "run")
    assert (given.returncode, "epsilon is 8: noise is for the class statistics" in given.stderr) == (2, True)


def test_classes_are_for_a_session(ktl: Ktl, hall: Hall) -> None:
    given = ktl("edge", "train", "--classes", hall.parts / "classes.txt", "--local-only")
    assert (given.returncode, "--classes is for a session" in given.stderr) == (2, True)


def test_this_machines_clients_learn_by_a_cloud_elsewhere(
    ktl: Ktl, hall: Hall, at: At, tiny_generator_file: Path, tmp_path: Path
) -> None:
    small = "--method fedktl --rounds 1 --steps 4 --workers 0 --set transfer.warmup_steps=4 --json"
    federate = ["federate", "--data", hall.parts, *small.split(), "--set", "cloud.pairs_per_class=8"]
    here = ktl(*federate, "--generator", tiny_generator_file, "--out", tmp_path / "here")
    there = ktl(*federate, *at("cam-5"), "--out", tmp_path / "there")
    assert (here.returncode, there.returncode) == (0, 0), here.stderr + there.stderr
    results = [json.loads(done.stdout)["fedktl"] for done in (here, there)]
    one, other = ({name: each[name] for name in ("last", "bytes_up", "bytes_down")} for each in results)
    assert one == other
    left = [json.loads(line) for line in ktl("cloud", "session", "list", "--json", *at("cam-5")).stdout.splitlines()]
    assert [session for session in left if session["owner"] == "cam-5"] == []
    refused = ktl(*federate, "--join-ratio", "0.5", *at("cam-5"), "--out", tmp_path / "refused")
    assert (refused.returncode, "with --cloud every client takes part" in refused.stderr) == (2, True)
