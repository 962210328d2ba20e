from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ktl.data.dataset import Dataset, FileImages, Split
from ktl.data.in_memory import ResizedArray
from ktl.errors import DataError

Fill = Callable[..., list[Path]]


def split(labels: list[int]) -> Split:
    return Split(np.zeros((len(labels), 8, 8, 1), np.uint8), np.array(labels, dtype=np.int64))


def dataset(names: list[str], train: list[int], test: list[int]) -> Dataset:
    return Dataset("pets", names, image_size=8, channels=1, train=split(train), test=split(test))


def test_a_data_set_of_two_classes_is_enough() -> None:
    pets = dataset(["cat", "dog"], [0, 1], [1, 0])
    assert pets.class_names == ["cat", "dog"]


@pytest.mark.parametrize(
    ("names", "train", "test", "reason"),
    [
        (["cat"], [0], [0], "pets has 1 class: a classifier needs at least 2"),
        ([], [], [], "pets has 0 class: a classifier needs at least 2"),
        (["cat", "dog"], [0, 0], [0, 1], "class 'dog' of pets has no train image"),
        (["cat", "dog"], [0, 1], [1], "class 'cat' of pets has no test image"),
        (["cat", "dog"], [0, 1, 2], [0, 1], "pets has label 2 but only 2 class names"),
        (["cat", "dog"], [0, 1], [0, 1, 9], "pets has label 9 but only 2 class names"),
    ],
)
def test_a_data_set_that_cannot_be_learned_is_refused(
    names: list[str], train: list[int], test: list[int], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        dataset(names, train, test)


def test_files_are_read_in_the_order_of_the_index(tmp_path: Path, fill: Fill) -> None:
    images = FileImages(fill(tmp_path, 5, first=40), size=8, channels=1)
    assert images[np.array([4, 0, 0])][:, 0, 0, 0].tolist() == [44, 40, 40]


def test_files_are_only_read_when_they_are_asked_for(tmp_path: Path, fill: Fill) -> None:
    files = fill(tmp_path, 2)
    files[1].write_text("no image")
    images = FileImages(files, size=8, channels=3)
    assert images[np.array([0])].shape == (1, 8, 8, 3)
    with pytest.raises(DataError, match=f"cannot read the image {files[1]}"):
        images[np.array([0, 1])]


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_are_resized_when_they_are_asked_for(channels: int) -> None:
    levels: NDArray[np.uint8] = np.arange(4, dtype=np.uint8)
    array = np.broadcast_to(levels[:, None, None, None], (4, 6, 10, channels))
    resized = ResizedArray(array, 16)[np.array([3, 1])]
    assert resized.shape == (2, 16, 16, channels)
    assert (resized[0] == 3).all()
    assert (resized[1] == 1).all()
