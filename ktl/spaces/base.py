"""What a shared space is, ktl's own or another package's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from ktl import settings
from ktl.generators.base import ImageGenerator
from ktl.registry import subclass


class SharedSpace(ABC):
    """What the vectors of a cloud's pairs are, beside its images: made for one generator.

    Edges learn to predict them, so an edge's map from its features goes into the same space as every other edge's. A
    subclass has a `name`, sets `dimension`, and names what can be set of it in a class `Settings` of its own. The same
    generator and settings must give the same vectors, or a session cannot be taken up again.
    """

    Settings: ClassVar[type[settings.Settings]] = settings.NoSettings
    name: str  # what a session's reply calls it
    metric: bool = False  # whether vectors of alike images point to alike directions: taken as they are then
    dimension: int  # numbers in a vector
    fingerprint: str = ""  # tells it from others of its name, generator and dimension, where those do not say it all

    def __init__(self, generator: ImageGenerator, settings: settings.Settings | None = None) -> None:
        self.generator = generator
        self.settings: Any = self.Settings() if settings is None else settings

    @abstractmethod
    def vectors(self, latents: Tensor, images: Tensor) -> Tensor:
        """latents (n, H) and the images drawn from them, uint8 (n, 3, size, size) -> (n, dimension) float32."""

    def of_latents(self, latents: Tensor) -> Tensor | None:
        """The latents' vectors (n, dimension), without images; None where vectors need those, as an encoder's do."""
        return None


checked = subclass(SharedSpace, "space")
