"""How a generator is trained. Nothing here imports torch: the command line's help reads it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from ktl.settings import Settings


@dataclass(frozen=True)
class GeneratorTrainingConfig(Settings):
    """How a StyleGAN2 is trained on unlabelled images. Raises UsageError for a value out of its bounds."""

    images: Annotated[int, Meta(ge=1, description="Images to show in all.")] = 800_000
    batch: Annotated[int, Meta(ge=1, description="Images per step.")] = 64
    generator_rate: Annotated[
        float, Meta(gt=0, le=1, description="Adam's learning rate for the generator, whose weights have unit scale.")
    ] = 0.004
    discriminator_rate: Annotated[
        float, Meta(gt=0, le=1, description="Adam's learning rate for the discriminator.")
    ] = 5e-4
    average_half_life: Annotated[
        int, Meta(ge=1, description="Half-life of the moving average of the weights, in images.")
    ] = 20_000
    log_every: Annotated[int, Meta(ge=1, description="Steps per row of figures.")] = 100
    save_every: Annotated[int, Meta(ge=1, description="Steps per saving, which goes with a row of figures.")] = 1_000
    seed: Annotated[int, Meta(ge=0, lt=2**31, description="Seed of every random choice.")] = 0


@dataclass(frozen=True)
class RelativisticConfig(GeneratorTrainingConfig):
    """With a discriminator that looks at pixels."""

    gamma: Annotated[float, Meta(ge=0, description="Weight of the gradient penalties R1 and R2.")] = 0.05
    penalty_interval: Annotated[int, Meta(ge=1, description="Steps from one gradient penalty to the next.")] = 4


@dataclass(frozen=True)
class ProjectedConfig(GeneratorTrainingConfig):
    """With a discriminator that looks at a pre-trained network's feature maps, and at pixels."""

    discriminator_rate: Annotated[
        float, Meta(gt=0, le=1, description="Adam's learning rate for the discriminator.")
    ] = 0.002
    generator_rate: Annotated[
        float, Meta(gt=0, le=1, description="Adam's learning rate for the generator, whose weights have unit scale.")
    ] = 0.002
    augment: Annotated[
        bool, Meta(description="Show the discriminator changed images: for fewer than some ten thousand.")
    ] = True
    feature_size: Annotated[
        int, Meta(ge=32, le=512, description="Pixels that images are scaled to before their features are computed.")
    ] = 64
