from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Fill = Callable[..., list[Path]]


@pytest.fixture
def fill() -> Fill:
    """Writes `count` grey PNG files of one brightness each, first, first + 1, ..., into a folder that it makes."""

    def write(folder: Path, count: int, first: int = 0) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{index:03d}.png" for index in range(count)]
        for index, file in enumerate(files):
            Image.new("L", (8, 8), first + index).save(file)
        return files

    return write


@pytest.fixture
def arrays() -> dict[str, NDArray[Any]]:
    """A bundle of 3 classes, 4 train and 2 test images each; image i is filled with i (train) or 100 + i (test)."""
    levels = np.arange(12, dtype=np.uint8)
    return {
        "x_train": np.broadcast_to(levels[:, None, None], (12, 8, 8)).copy(),
        "y_train": np.repeat([0, 1, 2], 4),
        "x_test": np.broadcast_to(100 + levels[:6, None, None], (6, 8, 8)).copy(),
        "y_test": np.tile([0, 1, 2], 2),
        "class_names": np.array(["cat", "dog", "owl"]),
    }
