"""A picture of what a generator draws."""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor

from ktl.generators.base import ImageGenerator, sample_latents
from ktl.seeds import stream


def sample_grid(generator: ImageGenerator, *, rows: int, columns: int, seed: int) -> Image.Image:
    """rows x columns images drawn from fresh latents, side by side."""
    return grid(generator.images(sample_latents(generator, rows * columns, stream(seed, "samples"))), columns)


def grid(images: Tensor, columns: int) -> Image.Image:
    """uint8 images (n, 3, h, w) in one picture of at most `columns` per row; the end of the last row may stay black."""
    count, _, height, width = images.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    filled = torch.cat([images, images.new_zeros(rows * columns - count, 3, height, width)])
    tiled = filled.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3)
    return Image.fromarray(tiled.numpy())
