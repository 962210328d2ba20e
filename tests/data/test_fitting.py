"""How pictures that are not square become so."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from ktl.data import load_dataset
from ktl.data.fewshot import draw_task
from ktl.data.fitting import GREY, visible_share
from ktl.data.images import fit_image
from ktl.data.settings import Fit
from ktl.errors import UsageError


def thirds(width: int, height: int) -> Image.Image:
    """Black, white, black along the longer side."""
    levels = np.zeros((height, width), np.uint8)
    if width > height:
        levels[:, width // 3 : 2 * width // 3] = 255
    else:
        levels[height // 3 : 2 * height // 3] = 255
    return Image.fromarray(levels)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("fit", "along", "across"),
    [
        ("crop", [255, 255, 255], [255, 255, 255]),
        ("pad", [0, 255, 0], [GREY, 255, GREY]),
        ("stretch", [0, 255, 0], [255] * 3),
    ],
)
def test_a_wide_picture_is_cropped_padded_or_stretched(
    fit: Fit, along: list[int], across: list[int], turned: bool
) -> None:
    fitted = fit_image(thirds(60, 180) if turned else thirds(180, 60), 30, 1, fit)[..., 0]
    fitted = fitted.T if turned else fitted
    assert fitted[15, [4, 15, 25]].tolist() == along
    assert fitted[[4, 15, 25], 15].tolist() == across


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Two classes of four pictures of 36 x 12 pixels."""
    for label in ("left", "right"):
        (tmp_path / "wide" / label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (36, 12), (number, 0, 0)).save(tmp_path / "wide" / label / f"{number}.png")
    return tmp_path / "wide"


def test_a_crop_that_leaves_little_is_said(wide: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "ktl.data"):
        load_dataset(str(wide))
        load_dataset(str(wide), fit="pad")
    advice = "--fit pad or stretch sees all"
    assert caplog.messages == [
        f"{wide}: about a third of each picture is all that is seen, its middle square; {advice}"
    ]


@pytest.mark.parametrize(("size", "share"), [((36, 12), 1 / 3), ((30, 20), 2 / 3), ((20, 20), 1.0)])
def test_what_a_crop_leaves_is_measured_on_the_typical_picture(
    size: tuple[int, int], share: float, tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file in files[:2]:
        Image.new("RGB", size).save(file)
    Image.new("RGB", (400, 20)).save(files[2])
    assert visible_share(files) == share
    assert visible_share([tmp_path / "gone.png"]) == 1.0


@pytest.mark.parametrize("fit", get_args(Fit))
def test_a_task_says_how_its_pictures_became_square(wide: Path, fit: Fit) -> None:
    assert draw_task(load_dataset(str(wide), fit=fit), shots=1, ways=None, seed=0).fit == fit


def test_data_that_is_no_folder_is_not_fitted() -> None:
    with pytest.raises(UsageError, match="--fit pad is for folders of photographs, and fashion-mnist is none"):
        load_dataset("fashion-mnist", fit="pad")
