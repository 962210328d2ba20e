"""The default alignment: closed form, stable at any size, and valid by construction.

Prototypes become *noise* of the generator's own prior and go through its own mapping, instead of being pushed towards
the mapped latents: what comes out is as valid as a fresh latent, whatever the prototypes are. Similar classes get
similar noise, hence similar latents. docs/explanation/alignment.md says why each step is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor

from ktl import settings
from ktl.alignment.base import AlignedLatents, Alignment
from ktl.generators.base import MAPPED_AT_ONCE, ImageGenerator
from ktl.prototypes import Prototypes, class_sums
from ktl.seeds import stream


class RobustAlignment(Alignment):
    """Needs only per-class sums and counts of prototypes; the same prototypes and seed give the same latents."""

    copies_of_prototypes = 1  # it adds them up one by one

    @dataclass(frozen=True)
    class Settings(settings.Settings):
        """How far the latents of a class lie apart."""

        spread: Annotated[
            float, Meta(ge=0, le=1, description="Share of a latent's noise variance that is its own, not its class's.")
        ] = 0.8

    def align(self, prototypes: Sequence[Prototypes], generator: ImageGenerator, per_class: int) -> AlignedLatents:
        """Latents of each class that has a prototype: the centroid's, and per_class - 1 around it."""
        sums, counts = class_sums(prototypes, self.num_classes)
        classes = counts.nonzero().squeeze(1)
        means = sums[classes] / counts[classes, None]
        central = prototype_noise(means, generator.noise_dim, self.seed)
        parts = min(-(-len(classes) * per_class // MAPPED_AT_ONCE), len(classes))
        latents = torch.empty(len(classes), per_class, generator.latent_dim)
        for rows in torch.arange(len(classes)).tensor_split(parts):
            noise = spread_noise(central[rows], classes[rows], per_class, self.seed, self.settings.spread)
            latents[rows] = generator.latents(noise.flatten(0, 1)).unflatten(0, (len(rows), per_class))
        return AlignedLatents(classes, latents[:, 0], latents)


def prototype_noise(means: Tensor, noise_dim: int, seed: int) -> Tensor:
    """Class means of prototypes (m, K) to noise (m, noise_dim), each row as probable under N(0, I) as a fresh draw.

    Centred, half-whitened (singular values to their square roots, so that one dominant direction does not draw all
    classes onto a line, while like classes stay near each other), projected at random, and set to the length of a fresh
    draw. Rows that say nothing (all prototypes alike) become fresh draws.
    """
    m, prototype_dim = means.shape
    centred = means.double() - means.double().mean(dim=0)
    left, singular, right = torch.linalg.svd(centred, full_matrices=False)
    half_whitened = (left * singular.sqrt()) @ right
    projection = torch.randn(prototype_dim, noise_dim, dtype=torch.float64, generator=stream(seed, "projection"))
    fresh = torch.randn(m, noise_dim, dtype=torch.float64, generator=stream(seed, "fresh noise"))
    directions = half_whitened @ projection + 1e-6 * fresh
    noise: Tensor = F.normalize(directions, dim=1) * fresh.norm(dim=1, keepdim=True)
    return noise.float()


def spread_noise(central: Tensor, classes: Tensor, per_class: int, seed: int, spread: float) -> Tensor:
    """(m, noise_dim) -> (m, per_class, noise_dim): first the centre, then mixtures of it with fresh noise.

    sqrt(1 - spread) centre + sqrt(spread) fresh keeps the variance of N(0, I). A class's fresh noise depends on the
    class's index alone, not on which other classes are present.
    """
    own = torch.stack(
        [
            torch.randn(per_class - 1, central.shape[1], generator=stream(seed, "spread", class_index))
            for class_index in classes.tolist()
        ]
    )
    mixed = math.sqrt(1.0 - spread) * central[:, None] + math.sqrt(spread) * own
    return torch.cat([central[:, None], mixed], dim=1)
