"""A space of the pairs' vectors."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ktl import ImageGenerator, Meta, Settings, SharedSpace


@dataclass(frozen=True)
class GridSettings(Settings):
    cells: Annotated[int, Meta(ge=2, le=32, description="On each side of the grid.")] = 4


class BrightnessGrid(SharedSpace):
    """How bright each cell of a coarse grid over the image is."""

    Settings = GridSettings
    name = "brightness grid"

    def __init__(self, generator: ImageGenerator, settings: GridSettings | None = None) -> None:
        super().__init__(generator, settings)
        self.dimension = self.settings.cells**2

    def vectors(self, latents: Tensor, images: Tensor) -> Tensor:
        grey = images.float().mean(dim=1, keepdim=True) / 255
        return adaptive_avg_pool2d(grey, self.settings.cells).flatten(1)
