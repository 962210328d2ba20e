"""An image encoder."""

from torch import Tensor, arange

from ktl import Encoder

BINS = 8


class ColourHistogram(Encoder):
    """How many pixels have how much red, green and blue."""

    name = "colour histogram"
    licence = "Apache-2.0"
    dimension = 3 * BINS
    image_size = 32
    fingerprint = f"colour histogram {BINS}"

    def features(self, images: Tensor) -> Tensor:
        bins = ((images + 1) / 2 * BINS).floor().clamp(0, BINS - 1)  # images are normalised to [-1, 1]
        return (bins[..., None] == arange(BINS)).float().mean(dim=(2, 3)).flatten(1)
