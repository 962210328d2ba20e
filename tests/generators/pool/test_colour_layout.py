"""The layout of an image's colours."""

from __future__ import annotations

import torch

from ktl.generators.pool.colour_layout import ColourLayout
from ktl.seeds import stream


def pictures(count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=stream(0, "pictures"))


def test_the_first_numbers_are_the_mean_luma_and_chromas() -> None:
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    images[1], images[2, 0], images[3, 2] = 255, 255, 255  # black, white, red, blue
    vectors = ColourLayout().embed(images)
    assert vectors.shape == (4, ColourLayout.dimension) == (4, 63)
    assert vectors.dtype == torch.float32
    # 8 is the basis of 64 cells: black and white have no chroma, red is red, blue is blue
    expected = torch.tensor(
        [[-8.0, 0, 0], [8, 0, 0], [8 * (2 * 0.299 - 1), -1.352 * 2, 8.0], [8 * (2 * 0.114 - 1), 8, 0]]
    )
    expected[2, 1], expected[3, 2] = 8 * 2 * -0.169, 8 * 2 * -0.081
    torch.testing.assert_close(vectors[:, :3], expected, atol=1e-4, rtol=0)
    assert vectors[:, 3:].abs().max() < 1e-4  # nothing varies over the image


def test_it_keeps_distances_of_blurred_images() -> None:
    """The transform is orthonormal: what is left out can only bring images nearer to each other."""
    smooth = torch.linspace(0, 255, 32).expand(1, 3, 32, 32)
    images = torch.cat([smooth, smooth.transpose(2, 3)]).to(torch.uint8)
    across, down = ColourLayout().embed(images)
    cells = torch.nn.functional.adaptive_avg_pool2d(images.float() / 127.5 - 1, 8)[:, 0]
    assert 0.99 < (across - down).norm() / (cells[0] - cells[1]).norm() <= 1


def test_an_image_has_the_same_layout_in_any_batch() -> None:
    images = pictures(1030, 8)
    together = ColourLayout().embed(images)
    torch.testing.assert_close(ColourLayout().embed(images[1024:]), together[1024:])
