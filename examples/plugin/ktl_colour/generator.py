"""A family of generators: soft blobs of colour. A latent says of each blob where it is, and its colour."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ktl import BaseGenerator, Meta, Settings


@dataclass(frozen=True)
class BlobSettings(Settings):
    radius: Annotated[float, Meta(gt=0, le=2, description="Of a blob, where an image is 4 wide.")] = 0.6


class Blobs(BaseGenerator):
    """Four soft blobs of colour on grey, 32 x 32 pixels; there is nothing to train or to download."""

    Settings = BlobSettings
    licence = "CC0-1.0"
    noise_dim = latent_dim = 20
    image_size = 32

    def images(self, latents: Tensor) -> Tensor:
        blobs = latents.unflatten(1, (4, 5))  # (n, blobs, x y red green blue)
        away = torch.linspace(-2, 2, self.image_size) - blobs[:, :, :2, None]
        near = torch.exp(-((away / self.settings.radius) ** 2))  # (n, blobs, x y, pixels of a line)
        colour = torch.einsum("nbc,nbx,nby->ncyx", blobs[:, :, 2:], near[:, :, 0], near[:, :, 1])
        return (128 + 127 * colour.tanh()).to(torch.uint8)
