"""The generator's latents as they are."""

from __future__ import annotations

from torch import Tensor

from ktl import settings
from ktl.generators.base import ImageGenerator, members_of
from ktl.spaces.base import SharedSpace


class LatentSpace(SharedSpace):
    """What the paper's pairs carry."""

    name = "latent"

    def __init__(self, generator: ImageGenerator, settings: settings.Settings | None = None) -> None:
        super().__init__(generator, settings)
        self.dimension = generator.latent_dim
        self.metric = members_of(generator) is not None  # an encoder's embeddings

    def vectors(self, latents: Tensor, images: Tensor) -> Tensor:
        """As `of_latents`."""
        return self.of_latents(latents)

    def of_latents(self, latents: Tensor) -> Tensor:
        """The latents, (n, H)."""
        return latents
