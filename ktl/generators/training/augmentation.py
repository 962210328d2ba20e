"""Random changes of images that a gradient can pass: with them, a discriminator does not learn few images by heart.

Of light, place and a part left out, the same kinds for real and generated images (Zhao et al., "Differentiable
Augmentation for Data-Efficient GAN Training", NeurIPS 2020, arXiv 2006.10738).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 1 / 8  # of the side, at most
HOLE = 1 / 2  # of the side


def augmented(images: Tensor, rng: torch.Generator) -> Tensor:
    """images (n, c, s, s), about [-1, 1]  ->  the same shape; each image is changed in its own way."""
    return _holed(_shifted(_relit(images, rng), rng), rng)


def _relit(images: Tensor, rng: torch.Generator) -> Tensor:
    """Adds up to half, scales colours by 0 to 2 and contrast by 0.5 to 1.5."""
    light, colour, contrast = torch.rand(3, len(images), 1, 1, 1, generator=rng).to(images)
    images = images + (light - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = (images - grey) * (colour * 2.0) + grey
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    relit: Tensor = (images - mean) * (contrast + 0.5) + mean
    return relit


def _shifted(images: Tensor, rng: torch.Generator) -> Tensor:
    """Moves the picture; what comes in from outside is zero."""
    count, _, side, _ = images.shape
    most = round(side * SHIFT)
    shift = torch.randint(-most, most + 1, (2, count, 1), generator=rng)
    rows, columns = (torch.arange(side) + shift).clamp(-1, side) + 1  # of the picture with a frame of zeros
    framed = F.pad(images, (1, 1, 1, 1))
    index = torch.arange(count)[:, None, None]
    moved = framed.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def _holed(images: Tensor, rng: torch.Generator) -> Tensor:
    """Sets a square of half the side to zero, its centre anywhere."""
    count, _, side, _ = images.shape
    half = side * HOLE / 2
    centre = torch.randint(side, (2, count, 1), generator=rng)
    rows, columns = (torch.arange(side) - centre).abs() < half
    hole = (rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
    return images.masked_fill(hole, 0.0)
