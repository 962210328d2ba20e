from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.data.transforms import fit_batch, random_flip, random_shift, to_network, weak_view
from ktl.seeds import stream


def noise(n: int, channels: int = 3, size: int = 10) -> Tensor:
    return torch.randint(0, 256, (n, channels, size, size), generator=stream(0, "noise"), dtype=torch.uint8)


def test_pixels_are_scaled_to_minus_one_to_one() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    torch.testing.assert_close(to_network(images).flatten(), torch.tensor([-1.0, -0.6, 1.0]))


def test_a_flip_mirrors_the_images_that_a_plain_loop_mirrors() -> None:
    images = noise(64)
    draws = torch.rand(64, 1, 1, 1, generator=stream(1, "flip")).flatten()
    expected = [image.flip(2) if draw < 0.5 else image for image, draw in zip(images, draws, strict=True)]
    assert torch.equal(random_flip(images, stream(1, "flip")), torch.stack(expected))
    assert 10 < int((draws < 0.5).sum()) < 54


@pytest.mark.parametrize(("channels", "padding"), [(1, 1), (3, 4), (3, 9)])
def test_a_shift_crops_what_a_plain_loop_crops(channels: int, padding: int) -> None:
    images = noise(40, channels)
    top, left = torch.randint(0, 2 * padding + 1, (2, 40), generator=stream(1, "shift"))
    expected = []
    for image, y, x in zip(images, top.tolist(), left.tolist(), strict=True):
        padded = F.pad(image[None].float(), (padding,) * 4, mode="replicate")[0].to(torch.uint8)
        expected.append(padded[:, y : y + 10, x : x + 10])
    shifted = random_shift(images, stream(1, "shift"), padding)
    assert shifted.dtype == torch.uint8
    assert torch.equal(shifted, torch.stack(expected))


def test_a_shift_repeats_the_border_and_moves_by_up_to_four_pixels() -> None:
    images = torch.zeros(200, 1, 10, 10, dtype=torch.uint8)
    images[:, :, :, :5] = 200
    bright = (random_shift(images, stream(0, "shift"))[:, 0, 0] == 200).sum(dim=1)
    assert set(bright.tolist()) == set(range(1, 10))


def test_a_view_is_a_flip_and_a_shift_by_the_same_random_numbers() -> None:
    images = noise(16)
    rng = stream(2, "view")
    expected = to_network(random_shift(random_flip(images, rng), rng))
    assert torch.equal(weak_view(images, stream(2, "view")), expected)
    assert not torch.equal(weak_view(images, stream(3, "view")), expected)


@pytest.mark.parametrize(
    ("colour", "luma"),
    [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29), ((255, 255, 255), 255), ((7, 7, 7), 7)],
)
@pytest.mark.parametrize("size", [10, 6, 16])
def test_generated_images_become_grey_by_their_luma(colour: tuple[int, int, int], luma: int, size: int) -> None:
    images = torch.tensor(colour, dtype=torch.uint8).reshape(1, 3, 1, 1).expand(2, 3, 10, 10)
    fitted = fit_batch(images, size, channels=1)
    assert fitted.dtype == torch.uint8
    assert torch.equal(fitted, torch.full((2, 1, size, size), luma, dtype=torch.uint8))


def test_images_that_fit_are_left_as_they_are() -> None:
    images = noise(3)
    assert torch.equal(fit_batch(images, 10, channels=3), images)


def test_images_are_halved_by_a_smooth_filter() -> None:
    ramp = torch.arange(16, dtype=torch.uint8) * 10
    images = ramp.expand(1, 3, 16, 16)
    halved = fit_batch(images, 8, channels=3)
    assert halved.shape == (1, 3, 8, 8)
    assert torch.equal(halved[0, :, :, 1:-1], (5 + 20 * torch.arange(1, 7, dtype=torch.uint8)).expand(3, 8, 6))
