"""How a generator is trained. Nothing here imports torch: the command line's help reads it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from ktl.cooldown import Cooldown
from ktl.settings import Settings


@dataclass(frozen=True)
class GeneratorTrainingConfig(Settings):
    """How a generator is trained on unlabelled images. Raises UsageError for a value out of its bounds."""

    images: Annotated[int, Meta(ge=1, description="Images to show in all.")] = 800_000
    batch: Annotated[int, Meta(ge=1, description="Images per step.")] = 64
    generator_rate: Annotated[
        float, Meta(gt=0, le=1, description="Adam's learning rate for the generator, whose weights have unit scale.")
    ] = 0.004
    discriminator_rate: Annotated[
        float, Meta(gt=0, le=1, description="Adam's learning rate for the discriminator.")
    ] = 5e-4
    cooldown: Cooldown = 0.0
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
class FeaturesConfig(GeneratorTrainingConfig):
    """With a discriminator that looks at a pre-trained network's feature maps, and at pixels."""

    discriminator_rate: Annotated[
        float, Meta(gt=0, le=1, description="Adam's learning rate for the discriminator.")
    ] = 0.002
    feature_size: Annotated[
        int, Meta(ge=32, le=512, description="Pixels that images are scaled to before their features are computed.")
    ] = 64


@dataclass(frozen=True)
class ProjectedConfig(FeaturesConfig):
    """Of a StyleGAN2 before such a discriminator."""

    generator_rate: Annotated[
        float, Meta(gt=0, le=1, description="Adam's learning rate for the generator, whose weights have unit scale.")
    ] = 0.002
    augment: Annotated[
        bool, Meta(description="Show the discriminator changed images: for fewer than some ten thousand.")
    ] = True


@dataclass(frozen=True)
class LatentFlowTrainingConfig(FeaturesConfig):
    """Of a latent flow before such a discriminator: encoder and decoder of codes, and the flow that draws codes."""

    generator_rate: Annotated[
        float, Meta(gt=0, le=1, description="Adam's learning rate for encoder, decoder and flow.")
    ] = 0.001
    cooldown: Cooldown = 0.35
    pixel_images: Annotated[
        int, Meta(ge=0, description="Images, the first ones, that encoder and decoder learn by pixels alone.")
    ] = 100_000
    code_noise: Annotated[
        float, Meta(ge=0, description="Deviation of the noise that images' codes are decoded with.")
    ] = 0.3
    likeness: Annotated[
        float, Meta(ge=0, description="Weight of the distance of decoded images from what was encoded.")
    ] = 5.0
