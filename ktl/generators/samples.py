"""A picture of what a generator draws."""

from __future__ import annotations

from PIL import Image

from ktl.generators.base import ImageGenerator, sample_latents
from ktl.seeds import stream


def sample_grid(generator: ImageGenerator, *, rows: int, columns: int, seed: int) -> Image.Image:
    """rows x columns images drawn from fresh latents, side by side."""
    images = generator.images(sample_latents(generator, rows * columns, stream(seed, "samples")))
    size = generator.image_size
    tiled = images.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2).reshape(rows * size, columns * size, 3)
    return Image.fromarray(tiled.numpy())
