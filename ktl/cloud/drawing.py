"""What a curious cloud could draw of class statistics: their means lie in the space of its own generator's latents."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.generators.base import ImageGenerator, sample_latents

FRESH = 2_000  # latents: enough for their means and deviations


@torch.no_grad()
def drawn_means(means: Tensor, generator: ImageGenerator, rng: torch.Generator) -> Tensor:
    """A picture of each class mean (m, latent_dim): uint8 (m, 3, image_size, image_size)."""
    return generator.images(mean_latents(means, sample_latents(generator, FRESH, rng)))


def mean_latents(means: Tensor, fresh: Tensor) -> Tensor:
    """The latents (m, H) to which class means (m, H) of unit vectors point, `fresh` (n, H) being valid latents.

    A mean's direction is taken back from standardised latents, at the length that valid ones have on average.
    """
    centre, deviation, standardised = _standardised(fresh)
    length = standardised.norm(dim=1).mean()
    latents: Tensor = centre + deviation * length * F.normalize(means, dim=1)
    return latents


def nearest_latents(means: Tensor, fresh: Tensor) -> Tensor:
    """The valid latents (m, H) among `fresh` (n, H) whose directions are nearest to class means (m, H)."""
    _, _, standardised = _standardised(fresh)
    cosines = F.normalize(means, dim=1) @ F.normalize(standardised, dim=1).T
    return fresh[cosines.argmax(dim=1)]


def _standardised(fresh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, deviation and standardised rows, as a space map's targets are standardised."""
    centre, deviation = fresh.mean(dim=0), fresh.std(dim=0, unbiased=False).clamp_min(1e-6)
    return centre, deviation, (fresh - centre) / deviation
