"""Any classification model of torchvision.models as a feature extractor, from scratch: its last layer is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from ktl.models.depthwise import spare_strides


class Headless(nn.Module):
    """images (n, 1 or 3, size, size) -> features: what goes into the last layer of `constructor`'s network.

    Grey images go in as three equal channels, so that the network is torchvision's own whatever its first layer is
    called. Raises what the constructor raises.
    """

    def __init__(self, constructor: Callable[..., nn.Module], image_size: int) -> None:
        super().__init__()
        self.network = constructor(weights=None, **_options(constructor.__name__, image_size))
        layers = [name for name, part in self.network.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
        self.network.set_submodule(layers[-1], nn.Identity())
        spare_strides(self.network)
        for part in self.network.modules():
            if isinstance(part, (nn.Dropout, StochasticDepth)):
                part.p = 0.0  # they draw from torch's global stream, which a resumed run would not find again

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images.expand(-1, 3, -1, -1))
        return features


def _options(name: str, image_size: int) -> dict[str, Any]:
    """What a constructor must be told to give a network with one output, for images of this size."""
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    return {"image_size": image_size} if name.startswith("vit_") else {}
