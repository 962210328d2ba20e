from __future__ import annotations

import os
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ktl.data.dataset import Split
from ktl.data.image_folder import load_folder
from ktl.errors import DataError

Fill = Callable[..., list[Path]]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def levels(split: Split) -> list[int]:
    return [int(level) for level in split.images[np.arange(len(split.labels))][:, 0, 0, 0]]


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as refused:
        load_folder(path, None)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_train_and_test_folders_are_kept_apart(tmp_path: Path, fill: Fill) -> None:
    for split, first in (("train", 0), ("test", 100)):
        fill(tmp_path / split / "dog", 2, first=first + 10)
        fill(tmp_path / split / "cat", 3, first=first)
    pets = load_folder(tmp_path, 8)
    assert pets.name == tmp_path.name
    assert pets.class_names == ["cat", "dog"]
    assert (pets.image_size, pets.channels) == (8, 3)
    assert levels(pets.train) == [0, 1, 2, 10, 11]
    assert pets.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert levels(pets.test) == [100, 101, 102, 110, 111]
    assert pets.test.labels.tolist() == [0, 0, 0, 1, 1]


def test_a_quarter_of_each_class_is_held_out_the_same_every_time(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "cat", 8)
    fill(tmp_path / "dog", 2, first=50)
    pets, again = load_folder(tmp_path, 8), load_folder(tmp_path, 8)
    assert np.bincount(pets.train.labels).tolist() == [6, 1]
    assert np.bincount(pets.test.labels).tolist() == [2, 1]
    assert sorted(levels(pets.train) + levels(pets.test)) == [*range(8), 50, 51]
    assert levels(again.test) == levels(pets.test)


def test_images_are_found_at_any_depth_and_other_files_are_left_out(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "cat" / "2024" / "may", 4)
    fill(tmp_path / "dog", 4)
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "readme.png").write_text("outside the classes")
    pets = load_folder(tmp_path, 8)
    assert pets.class_names == ["cat", "dog"]
    assert np.bincount(pets.train.labels).tolist() == [3, 3]


def test_pictures_of_folders_have_32_pixels_unless_another_size_is_asked_for(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "cat", 2)
    fill(tmp_path / "dog", 2)
    assert load_folder(tmp_path, None).train.images[np.array([0])].shape == (1, 32, 32, 3)
    assert load_folder(tmp_path, 48, channels=1).train.images[np.array([0])].shape == (1, 48, 48, 1)


def test_photographs_have_the_size_that_is_wanted_where_most_have_64_pixels(tmp_path: Path) -> None:
    for name, sides in (("cat", [70, 64]), ("dog", [20, 90])):
        (tmp_path / name).mkdir()
        for index, side in enumerate(sides):
            Image.new("RGB", (side, 100)).save(tmp_path / name / f"{index}.png")
    assert load_folder(tmp_path, None, photo_size=64).image_size == 64
    assert load_folder(tmp_path, None, photo_size=96).image_size == 96
    assert load_folder(tmp_path, None).image_size == 32
    assert load_folder(tmp_path, 24, photo_size=64).image_size == 24
    (tmp_path / "cat" / "0.png").unlink()
    Image.new("RGB", (40, 40)).save(tmp_path / "cat" / "0.png")
    assert load_folder(tmp_path, None, photo_size=64, hold_out=lambda found: [found, found]).image_size == 32


def test_a_folder_without_class_folders_is_refused(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path, 3)
    assert f"{tmp_path} holds no class folder" in refusal(tmp_path)


def test_an_empty_class_folder_is_named(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "cat", 2)
    (tmp_path / "dog").mkdir()
    assert f"the class folder {tmp_path / 'dog'} holds no image" in refusal(tmp_path)


def test_a_single_class_is_refused(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "cat", 4)
    assert f"{tmp_path.name} has 1 class: a classifier needs at least 2" in refusal(tmp_path)


def test_a_class_of_one_image_is_named(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "cat", 2)
    fill(tmp_path / "dog", 1)
    assert "class 'dog' has a single image; it needs one to train and one to test" in refusal(tmp_path)


@pytest.mark.parametrize(("lacking", "holding"), [("test", "train"), ("train", "test")])
def test_a_class_that_one_split_lacks_is_named(tmp_path: Path, fill: Fill, lacking: str, holding: str) -> None:
    fill(tmp_path / holding / "cat", 2)
    fill(tmp_path / lacking / "cat", 2)
    fill(tmp_path / holding / "dog", 2)
    assert f"class 'dog' is missing in {tmp_path / lacking}" in refusal(tmp_path)


@pytest.mark.parametrize(("lacking", "holding"), [("test", "train"), ("train", "test")])
def test_a_split_without_the_other_is_refused(tmp_path: Path, fill: Fill, lacking: str, holding: str) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / holding / name, 2)
    assert f"{tmp_path} has {holding}/ but no {lacking}/; add it" in refusal(tmp_path)


def test_all_unreadable_images_of_all_splits_are_named_at_once(tmp_path: Path, fill: Fill) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            fill(tmp_path / split / name, 2)
    damaged = [tmp_path / "train/dog/000.png", tmp_path / "test/cat/001.png"]
    for file in damaged:
        file.write_bytes(file.read_bytes()[:40])
    message = refusal(tmp_path)
    assert message.startswith("2 of 8 pictures cannot be used: ")
    assert all(f"cannot read the image {file}: " in message for file in damaged)
    assert message.endswith("; remove or replace them, or go on without them by --skip-damaged")


def test_damaged_images_are_skipped_and_named_if_asked_for(
    tmp_path: Path, fill: Fill, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "cat", 5)
    (tmp_path / "cat" / "000.png").write_bytes(b"")
    fill(tmp_path / "dog", 4, first=50)
    pets = load_folder(tmp_path, 8, skip_damaged=True)
    assert sorted(levels(pets.train) + levels(pets.test)) == [1, 2, 3, 4, 50, 51, 52, 53]
    assert f"skipped 1 of 9 pictures: cannot read the image {tmp_path / 'cat' / '000.png'}: " in caplog.text


def test_a_class_of_damaged_images_only_is_named(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "cat", 2)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "a.jpg").write_bytes(b"<html>")
    with pytest.raises(DataError, match="every picture of class 'dog' is damaged"):
        load_folder(tmp_path, 8, skip_damaged=True)


def test_val_beside_test_is_for_calibration(tmp_path: Path, fill: Fill) -> None:
    for split, first in (("train", 0), ("VAL", 50), ("test", 100)):
        fill(tmp_path / split / "cat", 2, first=first)
        fill(tmp_path / split / "dog", 2, first=first + 10)
    pets = load_folder(tmp_path, 8)
    assert pets.calibration is not None
    assert levels(pets.train) == [0, 1, 10, 11]
    assert levels(pets.calibration) == [50, 51, 60, 61]
    assert levels(pets.test) == [100, 101, 110, 111]


def test_a_name_composed_and_decomposed_is_one_class(tmp_path: Path, fill: Fill) -> None:
    for split, form in (("train", "NFC"), ("test", "NFD")):
        fill(tmp_path / split / unicodedata.normalize(form, "café"), 2)
        fill(tmp_path / split / "tea", 2)
    assert load_folder(tmp_path, 8).class_names == ["café", "tea"]


def test_a_name_that_is_not_utf_8_is_read_as_western_text(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / os.fsdecode(b"caf\xe9"), 2)
    fill(tmp_path / "tea", 2)
    assert load_folder(tmp_path, 8).class_names == ["café", "tea"]


def test_runs_in_the_folder_are_no_classes(tmp_path: Path, fill: Fill, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / name, 2)
    for run in ("runs/first", "runs/federation/local", "cat/here"):
        fill(tmp_path / run / "samples", 1)
        (tmp_path / run / "config.json").write_text('{"layout": 2}')
    pets = load_folder(tmp_path, 8)
    assert pets.class_names == ["cat", "dog"]
    assert len(levels(pets.train) + levels(pets.test)) == 4
    assert f"left out of {tmp_path}: 2 run folders" in caplog.text


def test_many_formats_live_in_one_class(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "dog", 2)
    (tmp_path / "cat").mkdir()
    for index, suffix in enumerate(("jpg", "JPEG", "png", "webp", "bmp", "gif", "tif", "ppm")):
        Image.new("RGB", (8, 8), (10 * index,) * 3).save(tmp_path / "cat" / f"{index}.{suffix}")
    pets = load_folder(tmp_path, 8)
    assert np.bincount(pets.train.labels)[0] + np.bincount(pets.test.labels)[0] == 8
    found = sorted(level for level in levels(pets.train) + levels(pets.test) if level > 1)
    assert np.abs(np.array(found) - np.arange(10, 80, 10)).max() <= 3


@pytest.mark.skipif(not (SHARED / "tiny-imagenet-10k.tar").is_file(), reason="needs shared/data/tiny-imagenet-10k.tar")
def test_photographs_of_two_real_classes_are_read(tmp_path: Path) -> None:
    with tarfile.open(SHARED / "tiny-imagenet-10k.tar") as tar:
        pictures = [member for member in tar if member.name.endswith(".JPEG")]
        classes = sorted({Path(member.name).parent.name for member in pictures})[:2]
        for member in pictures:
            split, wnid, file = Path(member.name).parts[-3:]
            if wnid in classes:
                (tmp_path / split / wnid).mkdir(parents=True, exist_ok=True)
                stream = tar.extractfile(member)
                assert stream is not None
                (tmp_path / split / wnid / file).write_bytes(stream.read())
    photographs = load_folder(tmp_path, 64)
    assert photographs.class_names == classes
    assert np.bincount(photographs.train.labels).tolist() == [40, 40]
    assert np.bincount(photographs.test.labels).tolist() == [10, 10]
    pixels = photographs.train.images[np.arange(80)]
    assert pixels.shape == (80, 64, 64, 3)
    assert pixels.std() > 30
