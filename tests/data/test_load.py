from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ktl.data import DATASETS, load_dataset
from ktl.errors import DataError, UsageError

Fill = Callable[..., list[Path]]


def test_the_embedded_data_set_is_opened_by_name() -> None:
    fashion = load_dataset("fashion-mnist")
    assert (fashion.name, fashion.image_size, fashion.channels) == ("fashion-mnist", 28, 1)
    assert len(fashion.class_names) == 10


def test_the_embedded_data_set_is_resized_when_asked_for() -> None:
    fashion = load_dataset("fashion-mnist", 32)
    assert fashion.image_size == 32
    assert fashion.train.images[np.array([0, 1])].shape == (2, 32, 32, 1)


def test_a_folder_is_opened_by_path(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "cat", 3)
    fill(tmp_path / "dog", 3)
    pets = load_dataset(str(tmp_path), 16)
    assert (pets.name, pets.class_names, pets.image_size) == (tmp_path.name, ["cat", "dog"], 16)


def test_a_bundle_is_opened_by_path(tmp_path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    np.savez(tmp_path / "pets.npz", **arrays)
    pets = load_dataset(str(tmp_path / "pets.npz"))
    assert (pets.name, pets.class_names, pets.image_size) == ("pets", ["cat", "dog", "owl"], 8)


@pytest.mark.parametrize("source", ["fashion_mnist", "missing/folder", "missing.npz", "MNIST"])
def test_an_unknown_source_is_refused_with_the_choices(source: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_dataset(source)
    names = ", ".join(DATASETS.builtin())
    assert (
        str(refused.value)
        == f"no data set {source!r}: give a folder, an .npz file, or one of {names}, or module:function"
    )


def test_a_file_that_is_no_bundle_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "pets.csv").write_text("cat,dog")
    with pytest.raises(UsageError, match=r"give a folder, an \.npz file, or one of fashion-mnist, mnist"):
        load_dataset(str(tmp_path / "pets.csv"))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path} holds no class folder"):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize("size", [0, -1, 3])
def test_an_impossible_image_size_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"--image-size is {size}: at least 4 pixels are needed"):
        load_dataset("fashion-mnist", size)
