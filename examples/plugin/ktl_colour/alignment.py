"""An alignment: each class takes the fresh noise that lies nearest to its mean prototype, seen by one random map."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch

from ktl import AlignedLatents, Alignment, ImageGenerator, Meta, Prototypes, Settings, class_sums, stream


@dataclass(frozen=True)
class NearestSettings(Settings):
    draws: Annotated[int, Meta(ge=1, le=100, description="Fresh draws per latent that a class takes.")] = 10


class NearestNoise(Alignment):
    """The same draws for all classes, so that like classes get like latents; valid, because they are fresh."""

    Settings = NearestSettings

    def align(self, prototypes: Sequence[Prototypes], generator: ImageGenerator, per_class: int) -> AlignedLatents:
        sums, counts = class_sums(prototypes, self.num_classes)
        classes = counts.nonzero().squeeze(1)
        rng = stream(self.seed, "nearest noise")
        noise = torch.randn(self.settings.draws * per_class, generator.noise_dim, generator=rng)
        seen = noise @ torch.randn(generator.noise_dim, self.prototype_dim, generator=rng)
        nearest = (sums[classes].float() @ torch.nn.functional.normalize(seen).T).topk(per_class).indices
        latents = generator.latents(noise[nearest.flatten()]).unflatten(0, nearest.shape)
        return AlignedLatents(classes, latents[:, 0], latents)
