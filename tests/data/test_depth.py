"""Deep pictures of one training are read by one range, which is measured on its shots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ktl.data.depth import described, measured_ranges
from ktl.data.fewshot import draw_task
from ktl.data.image_folder import load_folder
from ktl.data.partition import share_out
from ktl.data.settings import PartitionConfig

RISING = np.arange(1024).reshape(32, 32)


def saved(path: Path, values: NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def thermal(tmp_path: Path) -> Path:
    """Two classes of pictures around 51,700, which differ in their level alone."""
    for number in range(8):
        saved(tmp_path / f"thermal/cold/{number}.png", (51_600 + RISING % 60 + number).astype(np.uint16))
        saved(tmp_path / f"thermal/warm/{number}.png", (51_740 + RISING % 60 + number).astype(np.uint16))
    return tmp_path / "thermal"


def test_a_narrow_band_is_one_range_for_all_pictures(thermal: Path) -> None:
    task = draw_task(load_folder(thermal, 32), shots=3, ways=None, seed=0)
    (low, high) = task.ranges["16-bit"] or ()
    assert (round(low, -1), round(high, -1)) == (51_600, 51_800)
    means = task.test_images.float().mean(dim=(1, 2, 3))
    assert means[task.test_labels == 0].max() < 60  # each by its own range, the two classes would look alike
    assert means[task.test_labels == 1].min() > 180


def test_a_range_that_is_given_is_kept(thermal: Path) -> None:
    task = draw_task(load_folder(thermal, 32), shots=3, ways=None, seed=0, ranges={"16-bit": (0.0, 65535.0)})
    assert task.ranges == {"16-bit": (0.0, 65535.0)}
    assert task.shot_images.unique().tolist() == [201, 202]


def test_clients_of_a_federation_read_by_one_range(thermal: Path) -> None:
    data = share_out(load_folder(thermal, 32), PartitionConfig(kind="iid", clients=2), seed=0)
    (low, high) = data.task(0).ranges["16-bit"] or ()
    assert (round(low, -1), round(high, -1)) == (51_600, 51_810)
    assert data.task(1).ranges == data.ranges
    assert len(data.images.unique()) > 100


def test_each_depth_has_a_range_of_its_own(tmp_path: Path) -> None:
    files = [
        saved(tmp_path / "a.png", (RISING * 4).astype(np.uint16)),  # 12 bits
        saved(tmp_path / "b.png", (RISING // 4).astype(np.uint8)),
        saved(tmp_path / "c.tif", (RISING // 4).astype(np.int32)),
        saved(tmp_path / "d.tif", (RISING / 1023).astype(np.float32)),
    ]
    assert measured_ranges(files) == {"16-bit": (0.0, 4095.0), "32-bit": (0.0, 255.0), "float": (0.0, 1.0)}
    assert measured_ranges(files[1:2]) == {}


def test_few_levels_are_told() -> None:
    full, narrow = described({"16-bit": (0.0, 65535.0), "32-bit": (700.0, 711.0)})
    assert full == "16-bit pictures: values 0 to 65,535, as in the shots, are read as 0 to 255"
    assert "warning: only 12 levels" in narrow
