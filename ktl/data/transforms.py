"""From uint8 batches to what a network sees, with random views drawn for a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

View = Callable[[Tensor, torch.Generator], Tensor]  # uint8 (n, c, h, w) -> float32 in [-1, 1]

PADDING = 4  # pixels that a random crop may shift by, as is usual at 32 x 32
MIN_CROP = 0.3  # of the area
LIGHT = 0.4  # largest change of brightness and contrast
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey: ITU-R BT.601


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


def random_crop(images: Tensor, rng: torch.Generator, smallest: float = MIN_CROP) -> Tensor:
    """Zooms into a random square of each float image (n, c, h, w): a share of `smallest` to 1 of its area."""
    n = len(images)
    side = torch.empty(n).uniform_(smallest, 1.0, generator=rng).sqrt()
    centre = (torch.rand(n, 2, generator=rng) * 2.0 - 1.0) * (1.0 - side)[:, None]
    turn = torch.zeros(n, 2, 3)
    turn[:, 0, 0] = turn[:, 1, 1] = side
    turn[:, :, 2] = centre
    grid = F.affine_grid(turn.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def random_light(images: Tensor, rng: torch.Generator, strength: float = LIGHT) -> Tensor:
    """Changes brightness, contrast and each channel's gain of float images in [-1, 1] by up to `strength`."""
    n, channels = images.shape[:2]
    shape = (n, channels, 1, 1)
    brightness = torch.empty(n, 1, 1, 1).uniform_(-strength, strength, generator=rng)
    contrast = torch.empty(n, 1, 1, 1).uniform_(1.0 - strength, 1.0 + strength, generator=rng)
    gain = torch.empty(shape).uniform_(1.0 - strength / 2, 1.0 + strength / 2, generator=rng)
    factor, offset = (contrast * gain).to(images.device), brightness.to(images.device)
    mean = images.mean(dim=(2, 3), keepdim=True)
    return ((images - mean) * factor + mean + offset).clamp(-1.0, 1.0)


def weak_view(images: Tensor, rng: torch.Generator) -> Tensor:
    """Flip and shift of uint8 images (n, c, h, w), as float32 in [-1, 1]: for labelled images."""
    return to_network(random_shift(random_flip(images, rng), rng))


def shifted_view(images: Tensor, rng: torch.Generator) -> Tensor:
    """Shift of uint8 images (n, c, h, w), as float32 in [-1, 1]: for labelled images that must not be mirrored."""
    return to_network(random_shift(images, rng))


def strong_view(images: Tensor, rng: torch.Generator) -> Tensor:
    """Flip, zoom and change of light of uint8 images (n, c, h, w), as float32 in [-1, 1]: for a contrast."""
    return random_light(random_crop(to_network(random_flip(images, rng)), rng), rng)


def fit_batch(images: Tensor, size: int, channels: int) -> Tensor:
    """uint8 RGB images (n, 3, s, s) -> uint8 (n, channels, size, size); grey by LUMA."""
    if images.shape[2] == size and channels == 3:
        return images
    resized = images.float()
    if channels == 1:
        resized = (resized * torch.tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)
    if images.shape[2] != size:
        resized = F.interpolate(resized, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return resized.round().clamp(0, 255).to(torch.uint8)
