"""Fewer numbers than a large latent has: a fixed random projection, which keeps angles nearly as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor

from ktl import settings
from ktl.class_statistics import MAX_DIMENSION
from ktl.generators.base import ImageGenerator
from ktl.seeds import stream
from ktl.spaces.base import SharedSpace


class ProjectedLatents(SharedSpace):
    """latents (n, H) times a matrix of independent normal numbers, drawn once for all clouds (Johnson-Lindenstrauss).

    Each number varies about as much as each of the latents does, and angles are off by about 1 / sqrt(dimension). Of
    Stable Diffusion's latents, 16,384 numbers, 32 times as many fit into a budget so, and class statistics, which have
    the dimension's square, can be pooled at all.
    """

    name = "projection"

    @dataclass(frozen=True)
    class Settings(settings.Settings):
        """How many numbers are left."""

        dimension: Annotated[int, Meta(ge=8, le=MAX_DIMENSION, description="Numbers in a vector.")] = 512

    def __init__(self, generator: ImageGenerator, settings: settings.Settings | None = None) -> None:
        super().__init__(generator, settings)
        self.dimension = self.settings.dimension
        rng = stream(0, "space projection", generator.latent_dim, self.dimension)
        self._matrix = torch.randn(generator.latent_dim, self.dimension, generator=rng) / math.sqrt(
            generator.latent_dim
        )

    def vectors(self, latents: Tensor, images: Tensor) -> Tensor:
        """As `of_latents`."""
        return self.of_latents(latents)

    def of_latents(self, latents: Tensor) -> Tensor:
        """(n, H) -> (n, dimension)."""
        return latents @ self._matrix
