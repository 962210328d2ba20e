"""The generator and the space that a server's settings name."""

from __future__ import annotations

from ktl.cloud.service.settings import Settings
from ktl.generators import load_generator
from ktl.generators.base import ImageGenerator
from ktl.spaces import SPACES, space_of
from ktl.spaces.base import SharedSpace


def chosen_generator(settings: Settings) -> ImageGenerator:
    """Loaded; images of a slow one are kept on disk. Raises what `load_generator` raises."""
    return load_generator(settings.generator, cached=True, products=settings.products, compiled=settings.compile)


def chosen_space(settings: Settings, generator: ImageGenerator) -> SharedSpace:
    """What pairs' vectors are. Raises UsageError for an unknown space, or settings that it does not take."""
    return space_of(generator, SPACES.parse(settings.space) if settings.space else None)
