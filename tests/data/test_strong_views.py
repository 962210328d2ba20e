from __future__ import annotations

import pytest
import torch

from ktl.data.transforms import LIGHT, random_crop, random_light, strong_view
from ktl.seeds import stream


def test_a_crop_of_the_whole_area_changes_nothing() -> None:
    images = torch.rand(5, 3, 16, 16, generator=stream(0, "images"))
    torch.testing.assert_close(random_crop(images, stream(0, "crop"), smallest=1.0), images, atol=1e-5, rtol=0)


def test_a_crop_zooms_into_a_square_inside_the_image() -> None:
    ramp = torch.linspace(-1.0, 1.0, 32).expand(64, 1, 32, 32)
    cropped = random_crop(ramp, stream(0, "crop"), smallest=0.3)
    rise = cropped[:, 0, 0, -1] - cropped[:, 0, 0, 0]
    assert cropped.min() >= -1.0
    assert cropped.max() <= 1.0
    # the span of a horizontal ramp that is left is the crop's side: the root of 0.3 to 1 of the area
    assert (rise / 2).min() > 0.3**0.5 - 0.05
    assert (rise / 2).max() <= 1.0
    assert (rise / 2).std() > 0.05


def test_crops_are_drawn_for_each_image() -> None:
    same = torch.rand(1, 1, 16, 16, generator=stream(0, "images")).expand(4, -1, -1, -1)
    cropped = random_crop(same, stream(0, "crop"))
    assert len({tuple(image.flatten().tolist()) for image in cropped}) == 4


def test_light_keeps_within_its_strength_and_range() -> None:
    grey = torch.zeros(500, 3, 4, 4)
    lit = random_light(grey, stream(0, "light"))
    assert lit.abs().max() <= LIGHT + 1e-6
    assert lit.abs().max() > 0.9 * LIGHT
    bright = random_light(torch.ones(500, 3, 4, 4), stream(0, "light"))
    assert bright.max() <= 1.0


def test_no_strength_is_no_change() -> None:
    images = torch.rand(3, 3, 8, 8, generator=stream(0, "images")) * 2 - 1
    torch.testing.assert_close(random_light(images, stream(0, "light"), strength=0.0), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_strong_view_is_a_function_of_its_stream(channels: int) -> None:
    images = torch.randint(0, 256, (6, channels, 28, 28), generator=stream(0, "i"), dtype=torch.uint8)
    first, again, other = (strong_view(images, stream(seed, "view")) for seed in (1, 1, 2))
    assert first.shape == images.shape
    assert first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
