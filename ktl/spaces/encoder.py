"""An encoder's embedding of the generated images: unlike latents, it says which pictures are alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from threading import Lock
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor

from ktl import settings
from ktl.encoders import BUILTIN, load_encoder
from ktl.encoders.principal import principal_directions
from ktl.errors import UsageError
from ktl.generators.base import ImageGenerator, drawn
from ktl.seeds import stream
from ktl.spaces.base import SharedSpace

FITTED_ON = 2048  # generated images, whose embeddings the directions are of


class EncoderSpace(SharedSpace):
    """The principal directions of an encoder's embeddings of generated images, each as wide as it is.

    They are found when the first vectors are asked for, which draws and embeds `FITTED_ON` images.
    """

    name = "encoder"
    metric = True

    @dataclass(frozen=True)
    class Settings(settings.Settings):
        """Whose embedding, and how much of it."""

        encoder: Annotated[
            str, Meta(description="builtin, FILE.safetensors, torchvision:NAME[?FILE], timm:NAME[?FILE], module:Class.")
        ] = BUILTIN
        dimension: Annotated[int, Meta(ge=8, le=256, description="Numbers in a vector.")] = 128

    def __init__(self, generator: ImageGenerator, settings: settings.Settings | None = None) -> None:
        """Raises UsageError if the encoder is unknown, or has fewer numbers than a vector shall have."""
        super().__init__(generator, settings)
        self.encoder = load_encoder(self.settings.encoder)
        self.dimension = self.settings.dimension
        if self.encoder.dimension < self.dimension:
            raise UsageError(
                f"space encoder has a dimension of {self.dimension}, but an embedding of {self.settings.encoder} has "
                f"{self.encoder.dimension} numbers: give at most that"
            )
        parts = generator.fingerprint, self.encoder.fingerprint, self.dimension, FITTED_ON
        self.fingerprint = hashlib.sha256(repr(parts).encode()).hexdigest()
        self._fitting = Lock()  # a service's rounds are drawn in several threads
        self._axes: tuple[Tensor, Tensor] | None = None

    def vectors(self, latents: Tensor, images: Tensor) -> Tensor:
        """Of the images alone."""
        with self._fitting:
            if self._axes is None:
                self._axes = principal_directions(self._embeddings(), self.dimension)
        centre, directions = self._axes
        return (self.encoder.embed(images) - centre) @ directions

    def _embeddings(self) -> Tensor:
        """Of fresh images of the generator, (FITTED_ON, E)."""
        images = drawn(self.generator, FITTED_ON, stream(0, "encoder space"))
        return torch.cat([self.encoder.embed(batch) for batch in images])
