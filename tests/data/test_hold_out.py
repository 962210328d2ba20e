from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from ktl.data.hold_out import by_content, by_number
from ktl.data.manifest import digest_of
from ktl.errors import DataError

Make = Callable[[str, int], Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a file whose digest says that it is tested on ("test") or not ("train"); the number makes it another."""

    def write(side: str, number: int) -> Path:
        for salt in count():
            file = tmp_path / f"{side}{number}.jpg"
            file.write_bytes(f"{number} {salt}".encode())
            if (digest_of(file) < "4") == (side == "test"):
                return file
        raise AssertionError

    return write


def test_a_quarter_of_all_images_is_held_out(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.jpg" for number in range(2000)]
    for file in files:
        file.write_text(file.name)
    train, test = by_content({"cat": files})
    assert 450 < len(test["cat"]) < 550
    assert train["cat"] == [file for file in files if file not in test["cat"]]


def test_added_images_move_none(make: Make) -> None:
    before = [make("test", 0), make("train", 1), make("train", 2), make("train", 3)]
    added = [make("test", 4), make("test", 5), make("train", 6)]
    for files in (before, before + added, [*added, *before[1:]], [before[0], before[3]]):
        train, test = by_content({"cat": files})
        assert set(test["cat"]) == {file for file in files if file.name.startswith("test")}
        assert train["cat"] == [file for file in files if file.name.startswith("train")]


def test_names_and_folders_do_not_matter(tmp_path: Path, make: Make) -> None:
    files = [make("test", 0), make("train", 1)]
    moved = [file.rename(tmp_path / f"renamed {index}.png") for index, file in enumerate(files)]
    assert by_content({"dog": moved}) == [{"dog": [moved[1]]}, {"dog": [moved[0]]}]


def test_copies_lie_on_one_side(tmp_path: Path, make: Make) -> None:
    files = [make("test", 0), make("train", 1), make("train", 2)]
    copies = [file.with_stem(f"copy of {file.stem}") for file in files]
    for file, copy in zip(files, copies, strict=True):
        copy.write_bytes(file.read_bytes())
    _, test = by_content({"cat": [*files, *copies]})
    assert test["cat"] == sorted([files[0], copies[0]])


def test_a_class_has_an_image_on_each_side(make: Make) -> None:
    above = sorted([make("train", number) for number in range(3)], key=digest_of)
    assert by_content({"cat": above})[1] == {"cat": above[:1]}
    below = sorted([make("test", number) for number in range(3)], key=digest_of)
    train, test = by_content({"cat": below})
    assert (train["cat"], set(test["cat"])) == (below[2:], set(below[:2]))


def test_a_class_keeps_as_many_to_train_as_are_wanted(make: Make) -> None:
    files = [*(make("test", number) for number in range(4)), make("train", 4)]
    lowest = min(files[:4], key=digest_of)
    assert len(by_content({"cat": files}, to_train=1)[1]["cat"]) == 4
    assert len(by_content({"cat": files}, to_train=3)[1]["cat"]) == 2
    assert by_content({"cat": files}, to_train=9)[1] == {"cat": [lowest]}


def test_copies_of_one_image_are_split_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_text("the same")
    assert by_content({"cat": files}) == [{"cat": files[1:]}, {"cat": files[:1]}]
    assert caplog.messages == ["class 'cat' holds 3 copies of one image: it is tested on what it was trained on"]


def test_a_class_of_one_image_is_refused(make: Make) -> None:
    with pytest.raises(DataError, match="class 'cat' has a single image; it needs one to train and one to test"):
        by_content({"cat": [make("test", 0)]})


def test_older_runs_held_out_by_number(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.jpg" for number in range(8)]  # their content is not looked at
    train, test = by_number({"cat": files})
    assert [file.stem for file in test["cat"]] == ["2", "4"]
    assert sorted(train["cat"] + test["cat"]) == files
