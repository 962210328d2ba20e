from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ktl.data.in_memory import from_arrays
from ktl.errors import DataError

IMAGES, LABELS = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8), np.array([0, 1, 2] * 2)


def test_arrays_become_a_data_set_with_numbered_classes() -> None:
    shapes = from_arrays("shapes", train=(IMAGES, LABELS), test=(IMAGES[3:], LABELS[3:].astype(np.uint8)))
    assert (shapes.name, shapes.class_names, shapes.image_size, shapes.channels) == ("shapes", ["0", "1", "2"], 8, 1)
    assert shapes.train.images[np.array([4, 1])][:, 7, 7, 0].tolist() == [4, 1]
    assert shapes.test.labels.tolist() == [0, 1, 2]
    assert shapes.test.labels.dtype == np.int64


def test_arrays_are_resized_and_classes_named() -> None:
    parts = {"train": (IMAGES, LABELS), "test": (IMAGES, LABELS)}
    shapes = from_arrays("shapes", **parts, class_names=("disc", "square", "star"), image_size=16)
    assert (shapes.class_names, shapes.image_size) == (["disc", "square", "star"], 16)
    assert (shapes.train.images[np.array([5])] == np.full((1, 16, 16, 1), 5)).all()


def test_errors_name_the_array_and_its_origin(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="x_test of shapes must be uint8"):
        from_arrays("shapes", train=(IMAGES, LABELS), test=(IMAGES / 255, LABELS))
    with pytest.raises(DataError, match="y_train of a camera must be 6 integers from 0, not int64"):
        from_arrays("shapes", train=(IMAGES, LABELS[:5]), test=(IMAGES, LABELS), source="a camera")
