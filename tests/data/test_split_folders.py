"""Splits by any common name, and classes that are called so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ktl.data.image_folder import load_folder
from ktl.data.split_folders import role_of
from ktl.errors import DataError

Fill = Callable[..., list[Path]]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        *(("train", "val"), ("train", "valid"), ("train", "validation"), ("Train", "Test"), ("TRAIN", "VAL")),
        *(("training", "testing"), ("train_images", "test_images"), ("images-train", "images-test")),
        *(("train2017", "val2017"), ("Training Set", "Test Set"), ("trn", "dev")),
    ],
)
def test_splits_are_taken_by_any_common_name_and_said(
    tmp_path: Path, fill: Fill, train: str, test: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("red", "blue"):
        fill(tmp_path / train / name, 3)
        fill(tmp_path / test / name, 2)
    (tmp_path / "annotations").mkdir()
    task = load_folder(tmp_path, 8)
    assert task.class_names == ["blue", "red"]
    assert np.bincount(task.train.labels).tolist() == [3, 3]
    assert np.bincount(task.test.labels).tolist() == [2, 2]
    assert f"trains on {train}/, tests on {test}/, does not use annotations/" in caplog.text


@pytest.mark.parametrize("name", ["trainer", "bus", "protest", "dataset", "valley", "trainval", "images", "2024"])
def test_other_words_are_no_splits(name: str) -> None:
    assert role_of(name) is None


@pytest.mark.parametrize("names", [("bus", "car", "train", "tram"), ("bus", "train"), ("test", "train", "tram")])
def test_a_class_may_be_called_like_a_split(tmp_path: Path, fill: Fill, names: tuple[str, ...]) -> None:
    for name in names:
        fill(tmp_path / name, 2)
    assert load_folder(tmp_path, 8).class_names == list(names)


def test_folders_with_the_same_folders_in_them_are_refused(tmp_path: Path, fill: Fill) -> None:
    for split in ("learn", "holdout"):
        for name in ("red", "blue"):
            fill(tmp_path / split / name, 2)
    with pytest.raises(
        DataError, match="looks like splits, not classes: holdout/ and learn/ both hold blue/, red/; call"
    ):
        load_folder(tmp_path, 8)


def test_classes_with_one_folder_of_the_same_name_are_classes(tmp_path: Path, fill: Fill) -> None:
    for name in ("red", "blue"):
        fill(tmp_path / name / "2024", 2)
    assert load_folder(tmp_path, 8).class_names == ["blue", "red"]


def test_two_folders_of_one_split_are_refused(tmp_path: Path, fill: Fill) -> None:
    for split in ("train", "Training", "test"):
        fill(tmp_path / split / "red", 2)
    with pytest.raises(DataError, match="has Training/ and train/, which are both a train split"):
        load_folder(tmp_path, 8)


def test_splits_without_class_folders_are_refused(tmp_path: Path, fill: Fill) -> None:
    for split in ("Train", "Test"):
        fill(tmp_path / split, 2)
    with pytest.raises(DataError, match="Train holds no class folder"):
        load_folder(tmp_path, 8)
