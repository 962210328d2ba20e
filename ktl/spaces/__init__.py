"""The spaces that a cloud's pairs speak of: what every edge learns to predict of an image, so that all can add up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktl.registry import Choice, Registry

if TYPE_CHECKING:  # the settings of a run list the spaces: listing them must not import torch
    from ktl.generators.base import ImageGenerator
    from ktl.spaces.base import SharedSpace

SPACES = Registry(
    "space",
    "ktl.spaces",
    {
        "latent": ("ktl.spaces.latent:LatentSpace", "the generator's latents themselves"),
        "encoder": ("ktl.spaces.encoder:EncoderSpace", "an encoder's embedding of the generated images"),
        "projection": ("ktl.spaces.projection:ProjectedLatents", "a fixed random projection of large latents"),
    },
    adapt="ktl.spaces.base:checked",
)


def space_of(generator: ImageGenerator, choice: Choice | None = None) -> SharedSpace:
    """The chosen space of a generator; if none its latents, projected where they are too large to pool anything in."""
    from ktl.class_statistics import MAX_DIMENSION

    if choice is None:
        choice = SPACES.choose("latent" if generator.latent_dim <= MAX_DIMENSION else "projection")
    space: SharedSpace = SPACES.load(choice.name)(generator, choice.settings)
    return space
