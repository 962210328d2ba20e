"""From uint8 batches to what a network sees, with random views drawn for a whole batch at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 4  # pixels that a random crop may shift by, as is usual at 32 x 32


def to_network(images: Tensor) -> Tensor:
    """uint8 (n, c, h, w) -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1.0


def random_flip(images: Tensor, rng: torch.Generator) -> Tensor:
    """Mirrors each image left to right with probability 1/2."""
    flip = torch.rand(len(images), 1, 1, 1, generator=rng) < 0.5
    return torch.where(flip.to(images.device), images.flip(3), images)


def random_shift(images: Tensor, rng: torch.Generator, padding: int = PADDING) -> Tensor:
    """Shifts each image by up to `padding` pixels in each direction; the border repeats."""
    n, _, height, width = images.shape
    padded = F.pad(images.float(), (padding,) * 4, mode="replicate").to(images.dtype)
    top, left = torch.randint(0, 2 * padding + 1, (2, n), generator=rng)
    rows = (top[:, None] + torch.arange(height)).to(images.device)
    columns = (left[:, None] + torch.arange(width)).to(images.device)
    sample = torch.arange(n, device=images.device)
    return padded[sample[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def random_view(images: Tensor, rng: torch.Generator) -> Tensor:
    """Flip and shift of uint8 images (n, c, h, w), as float32 in [-1, 1]."""
    return to_network(random_shift(random_flip(images, rng), rng))


def fit_batch(images: Tensor, size: int, channels: int) -> Tensor:
    """uint8 RGB images (n, 3, s, s) -> uint8 (n, channels, size, size); grey by the luma weights of ITU-R BT.601."""
    if images.shape[2] == size and channels == 3:
        return images
    resized = images.float()
    if channels == 1:
        luma = torch.tensor([0.299, 0.587, 0.114])
        resized = (resized * luma[:, None, None]).sum(dim=1, keepdim=True)
    if images.shape[2] != size:
        resized = F.interpolate(resized, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return resized.round().clamp(0, 255).to(torch.uint8)
