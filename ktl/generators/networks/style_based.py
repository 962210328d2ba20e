"""What every style-based generator is: a mapping network from noise to w, and a synthesis network from w to images."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class StyleBasedGenerator(nn.Module):
    """z (n, z_dim), one-hot labels (n, c_dim) if there are classes  ->  images (n, 3, resolution, resolution).

    `mapping` takes z, truncation and labels to w, `synthesis` a w for each of its `num_ws` layers to images.
    """

    mapping: nn.Module
    synthesis: nn.Module

    def __init__(self, mapping: nn.Module, synthesis: nn.Module) -> None:
        super().__init__()
        self.mapping = mapping
        self.synthesis = synthesis

    def broadcast(self, w: Tensor) -> Tensor:
        """One w (n, w_dim) for every layer: (n, layers, w_dim)."""
        layers: Any = self.synthesis.num_ws
        return w[:, None, :].expand(-1, layers, -1)

    def forward(self, z: Tensor, truncation: float = 1.0, labels: Tensor | None = None) -> Tensor:
        """Images in about [-1, 1]; at `truncation` 0 those of the mean w, at 1 as trained."""
        images: Tensor = self.synthesis(self.broadcast(self.mapping(z, truncation, labels)))
        return images
