"""What a cloud needs of a pre-trained image generator, whatever its family."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class ImageGenerator(Protocol):
    """Noise -> latents -> images. Latents are what is aligned, sent to edges and learnt from.

    For a StyleGAN the noise is z and the latents are w = mapping(z), the class too being drawn from the noise if there
    are any; for a diffusion model both are the initial noise.
    """

    name: str
    family: str
    licence: str  # of the weights
    fingerprint: str  # hexadecimal digest of the weights: two clouds with the same one draw the same images
    noise_dim: int
    latent_dim: int
    image_size: int  # pixels, square
    parameters: int

    def latents(self, noise: Tensor) -> Tensor:
        """noise (n, noise_dim) ~ N(0, I) -> latents (n, latent_dim), float32."""

    def images(self, latents: Tensor) -> Tensor:
        """latents (n, latent_dim) -> uint8 images (n, 3, image_size, image_size)."""


def sample_latents(generator: ImageGenerator, count: int, rng: torch.Generator) -> Tensor:
    """`count` fresh valid latents (count, latent_dim): the distribution that prototypes are aligned with."""
    return generator.latents(torch.randn(count, generator.noise_dim, generator=rng))
