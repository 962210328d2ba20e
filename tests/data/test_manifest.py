from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ktl.data.fewshot import draw_task
from ktl.data.image_folder import load_folder, load_kept
from ktl.data.in_memory import from_arrays
from ktl.data.manifest import Manifest, arrays_digest, digest_of, read_manifest
from ktl.errors import CheckpointError, DataError

Fill = Callable[..., list[Path]]


@pytest.fixture
def photos(tmp_path: Path, fill: Fill) -> Path:
    """Folders of splits: 3 images of each of cat and dog to train, 2 to test."""
    for split, first, count in (("train", 0, 3), ("test", 100, 2)):
        fill(tmp_path / "photos" / split / "cat", count, first=first)
        fill(tmp_path / "photos" / split / "dog", count, first=first + 10)
    return tmp_path / "photos"


@pytest.fixture
def kept(photos: Path) -> Manifest:
    return draw_task(load_folder(photos, 8), shots=2, ways=None, seed=0).manifest


def levels(root: Path, kept: Manifest) -> dict[str, list[int]]:
    """What each split holds now; labels go with classes of 3 and 2."""
    data = load_kept(root, kept, 8)
    assert data.class_names == ["cat", "dog"]
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1])
    return {
        name: part.images[np.arange(len(part.labels))][:, 0, 0, 0].tolist()
        for name, part in (("train", data.train), ("test", data.test))
    }


LEVELS = {"train": [0, 1, 2, 10, 11, 12], "test": [100, 101, 110, 111]}


def test_it_holds_the_digest_of_each_file_by_split_and_class(photos: Path, kept: Manifest) -> None:
    assert kept.class_names == ["cat", "dog"]
    assert list(kept.files["test"]["dog"]) == ["test/dog/000.png", "test/dog/001.png"]
    digests = kept.digests(["train", "test"])
    assert len(digests) == 10
    assert all(digest_of(photos / path) == digest for path, digest in digests.items())


def test_it_is_read_as_it_was_written(tmp_path: Path, kept: Manifest) -> None:
    kept.write(tmp_path)
    assert read_manifest(tmp_path) is None  # no run has begun here
    (tmp_path / "config.json").write_text("{}")
    assert read_manifest(tmp_path) == kept
    (tmp_path / "data.json").write_text(json.dumps({"class_names": 3}))
    with pytest.raises(CheckpointError, match=r"data\.json is damaged"):
        read_manifest(tmp_path)


def test_an_older_run_is_said_to_be_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert read_manifest(tmp_path) is None
    assert caplog.messages == [
        f"{tmp_path} was made before runs kept what they are made of: its data cannot be checked"
    ]


def test_further_files_are_not_used_and_counted(
    photos: Path, kept: Manifest, fill: Fill, caplog: pytest.LogCaptureFixture
) -> None:
    fill(photos / "train" / "owl", 3, first=200)
    (photos / "test" / "dog" / "notes.txt").write_text("none")
    assert levels(photos, kept) == LEVELS
    assert caplog.messages == [
        f"left out of {photos}: 1 .txt",
        f"{photos} has 3 further files that this run does not use",
    ]


def test_files_are_found_by_their_content_under_other_names(
    photos: Path, kept: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    cat, dog = photos / "train" / "cat", photos / "train" / "dog"
    cat.rename(photos / "moved")
    dog.rename(cat)  # what is called cat now are dogs
    (photos / "test" / "cat" / "001.png").rename(photos / "test" / "one.PNG")
    assert levels(photos, kept) == LEVELS
    assert caplog.messages == []


def test_a_lost_copy_is_read_from_the_other(photos: Path, kept: Manifest) -> None:
    for copy in ("train/dog/000.png", "train/dog/001.png"):
        (photos / copy).write_bytes((photos / "train/dog/002.png").read_bytes())
    kept = draw_task(load_folder(photos, 8), shots=2, ways=None, seed=0).manifest
    (photos / "train/dog/001.png").unlink()
    assert levels(photos, kept) == {**LEVELS, "train": [0, 1, 2, 12, 12, 12]}


def test_what_changed_is_named(photos: Path, kept: Manifest, fill: Fill) -> None:
    for number in range(3):
        (photos / "train" / "cat" / f"{number:03d}.png").unlink()
    Image.new("L", (8, 8), 7).save(photos / "test" / "dog" / "000.png")
    with pytest.raises(DataError) as refused:
        load_kept(photos, kept, 8)
    gone = ", ".join(f"train/cat/00{number}.png (gone)" for number in range(3))
    assert str(refused.value) == (
        f"4 of 10 files that this run needs are not in {photos} as they were: {gone} and 1 more; "
        "put them back, name a folder that has them by --data, or train anew"
    )
    assert [len(files) for files in kept.located(photos, ["calibration"]).values()] == [0]
    with pytest.raises(DataError, match=r"1 of 4 files .*: test/dog/000\.png \(changed\); put them back"):
        kept.located(photos, ["test"])


def test_a_folder_that_is_gone_can_be_named_anew(tmp_path: Path, photos: Path, kept: Manifest) -> None:
    photos.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=f"^{photos}, the data of this run, is not here: .* by --data$"):
        load_kept(photos, kept, 8)
    assert levels(tmp_path / "elsewhere", kept) == LEVELS


def test_arrays_and_their_class_names_are_checked() -> None:
    images = np.arange(8 * 16, dtype=np.uint8).reshape(8, 4, 4)
    labels = np.tile([0, 1], 4)

    def kept(names: list[str], tested: int = 0) -> Manifest:
        data = from_arrays("own", train=(images, labels), test=(images + tested, labels), class_names=names)
        return draw_task(data, shots=1, ways=None, seed=0).manifest

    one = kept(["cat", "dog"])
    assert sorted(one.arrays) == ["shots", "test images"]
    one.check(kept(["cat", "dog"]), "own.npz")
    with pytest.raises(
        DataError, match=r"^the test images and class names of own\.npz are not those that this run was "
    ):
        one.check(kept(["cat", "cow"], tested=1), "own.npz")


def test_the_digest_of_arrays_counts_their_kinds_too() -> None:
    zeros = np.zeros((2, 3), dtype=np.uint8)
    digests = {arrays_digest(array) for array in (zeros, zeros.T, zeros.astype(np.int8), np.zeros((0, 3)))}
    assert len(digests) == 4
    assert arrays_digest(zeros.T) == arrays_digest(np.zeros((3, 2), dtype=np.uint8))


def test_a_file_is_read_anew_once_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    before = digest_of(file)
    file.write_bytes(b"other")
    assert digest_of(file) != before
    with pytest.raises(DataError, match=r"cannot read .*gone"):
        digest_of(tmp_path / "gone")


def test_a_task_of_a_few_classes_keeps_all_files(photos: Path, fill: Fill) -> None:
    for split in ("train", "test"):
        fill(photos / split / "owl", 2, first=200 if split == "train" else 210)
    task = draw_task(load_folder(photos, 8), shots=1, ways=2, seed=0)
    assert len(task.manifest.class_names) == 2
    assert list(task.manifest.files["train"]) == ["cat", "dog", "owl"]
    again = draw_task(load_kept(photos, task.manifest, 8), shots=1, ways=2, seed=0)
    assert again.class_names == task.class_names
    assert again.shot_images.equal(task.shot_images)
    assert replace(again, files={}).manifest == replace(task, files={}).manifest
