"""Data sets of other packages: found by name or as module:function, checked, and never in the way of a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.plugin import installed

from ktl.data import DATASETS, load_dataset
from ktl.errors import DataError, KtlError, UsageError

SHAPES = '''
"""Squares and stripes."""
import numpy as np

from ktl.data.in_memory import from_arrays


def shapes(image_size):
    """Squares and stripes, 12 x 12 grey, drawn when they are asked for."""
    square, stripes = np.zeros((12, 12), np.uint8), np.zeros((12, 12), np.uint8)
    square[3:9, 3:9] = 255
    stripes[::2] = 255
    images, labels = np.stack([square, stripes] * 4), np.array([0, 1] * 4)
    both = (images, labels)
    return from_arrays("shapes", train=both, test=both, class_names=["square", "stripes"], image_size=image_size)
'''

WRONG = """
from dataclasses import replace

import numpy as np

from ktl.data.dataset import Dataset, Split
from ktl.errors import DataError

GOOD = Split(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]))
TABLE = {}

def whole(image_size): return Dataset("wrong", ["a", "b"], 8, 1, GOOD, GOOD)
def arrays(image_size): return GOOD.images, GOOD.labels
def fails(image_size): raise KeyError("no shapes today")
def refuses(image_size): raise DataError("the camera is off: switch it on")
def nothing(): return None
def floats(image_size): return replace(whole(8), train=replace(GOOD, images=GOOD.images / 255))
def lists(image_size): return replace(whole(8), test=replace(GOOD, images=[1, 2]))
def labels(image_size): return replace(whole(8), test=replace(GOOD, labels=[0, 1]))
def negative(image_size): return replace(whole(8), test=replace(GOOD, labels=np.array([0, -1])))
def channels(image_size): return replace(whole(8), channels=4)
"""


def test_an_installed_package_adds_a_data_set(tmp_path: Path) -> None:
    with installed(tmp_path, DATASETS, {"shapes": "somebodys_data:shapes"}, somebodys_data=SHAPES):
        assert DATASETS.names()[-1] == "shapes"
        assert DATASETS.summary("shapes") == "Squares and stripes, 12 x 12 grey, drawn when they are asked for."
        shapes = load_dataset("shapes", 24)
        assert (shapes.name, shapes.image_size, shapes.class_names) == ("shapes", 24, ["square", "stripes"])
        assert shapes.train.images[np.array([0])][0, 12, 12, 0] == 255
    with pytest.raises(UsageError, match="no data set 'shapes'"):
        load_dataset("shapes")


def test_a_module_of_the_working_folder_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_shapes.py").write_text(SHAPES)
    monkeypatch.chdir(tmp_path)
    assert load_dataset("own_shapes:shapes").image_size == 12


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        ("arrays", UsageError, "'wrong:arrays' returns a tuple: it must return a ktl Dataset"),
        ("fails", UsageError, "'wrong:fails' fails for image_size None: KeyError: 'no shapes today'"),
        ("nothing", UsageError, r"'wrong:nothing' fails for image_size None: TypeError: nothing\(\) takes 0"),
        ("refuses", DataError, "the camera is off: switch it on"),
        ("TABLE", UsageError, "'wrong:TABLE' is a dict: give a function of image_size"),
        ("missing", UsageError, "cannot load data set 'wrong:missing'"),
        ("floats", DataError, r"train.images of .*'wrong:floats' is float64 \(1, 8, 8, 1\) .* expected uint8"),
        ("lists", DataError, "test.images of data set 'wrong:lists' cannot be indexed by an array of indices"),
        ("labels", DataError, "test.labels of wrong is list: give an int64 array"),
        ("negative", DataError, "wrong has label -1: labels are indices of class names, from 0"),
        ("channels", DataError, "wrong has images of 4 channels: give 1"),
    ],
)
def test_what_a_package_does_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, kind: type[KtlError], message: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "wrong.py").write_text(WRONG)
    with pytest.raises(kind, match=message) as refused:
        load_dataset(f"wrong:{function}")
    assert "\n" not in str(refused.value)


def test_a_size_that_is_not_given_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "wrong.py").write_text(WRONG)
    with pytest.raises(DataError, match="'wrong:whole' has images of 8 pixels: 32 were asked for"):
        load_dataset("wrong:whole", 32)


def test_a_folder_that_exists_is_never_taken_for_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fill: Callable[..., list[Path]]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("json:loads", "C:photos"):
        fill(tmp_path / name / "cat", 3)
        fill(tmp_path / name / "dog", 3)
        assert load_dataset(name).class_names == ["cat", "dog"]
    with installed(tmp_path, DATASETS, {"shapes": "somebodys_data:shapes"}, somebodys_data=SHAPES):
        fill(tmp_path / "shapes" / "cat", 3)
        fill(tmp_path / "shapes" / "dog", 3)
        assert load_dataset("shapes").class_names == ["cat", "dog"]


def test_a_path_of_windows_is_a_path() -> None:
    with pytest.raises(UsageError) as refused:
        load_dataset(r"C:\photos")
    assert str(refused.value).startswith(r"no data set 'C:\\photos': give a folder, an .npz file")
