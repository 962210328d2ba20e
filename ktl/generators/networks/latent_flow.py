"""A decoder of codes of images, and a flow that draws such codes from noise.

The plan of latent diffusion (Rombach et al., CVPR 2022, arXiv 2112.10752) with a code that is one vector: an encoder,
which only training needs, takes an image to its code, the decoder draws the image anew, and a flow learns the
distribution of codes by flow matching (Lipman et al., ICLR 2023, arXiv 2210.02747; Liu et al., arXiv 2209.03003).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor, nn

from ktl.generators.networks.bounds import MAX_LAYERS, Layers, Resolution, Width
from ktl.generators.networks.convolution import plain_convolution
from ktl.generators.networks.mapping import LEAKY_SLOPE, normalise
from ktl.generators.networks.style_based import StyleBasedGenerator

MAX_STEPS = 1000
WAVES = 32  # whose phase tells the time
FASTEST = 6.0  # logarithm of radians per unit of time
WIDEST_FIRST = (192, 128, 80, 32, 16, 8)  # feature maps at 4, 8, 16, ... pixels


@dataclass(frozen=True)
class LatentFlowConfig:
    """Sizes of decoder and flow; `channels` are the decoder's feature maps at 4, 8, ... pixels up to the resolution."""

    w_dim: Width = 128
    resolution: Resolution = 32
    channels: Annotated[tuple[Width, ...], Meta(min_length=1, max_length=MAX_LAYERS)] = WIDEST_FIRST[:4]
    flow_width: Width = 512
    flow_layers: Layers = 4
    flow_steps: Annotated[int, Meta(ge=1, le=MAX_STEPS)] = 8

    @property
    def z_dim(self) -> int:
        """A flow's noise is of its codes' dimension."""
        return self.w_dim

    @property
    def c_dim(self) -> int:
        """There are no classes."""
        return 0

    @classmethod
    def of_size(cls, resolution: int) -> LatentFlowConfig:
        """The default for images of `resolution` pixels, a power of two."""
        return cls(resolution=resolution, channels=WIDEST_FIRST[: int(math.log2(resolution)) - 1])


class Velocity(nn.Module):
    """Points x (n, d) and times t (n, 1), from 0 to 1  ->  how fast x moves then, (n, d): a residual network."""

    waves: Tensor

    def __init__(self, config: LatentFlowConfig) -> None:
        super().__init__()
        width = config.flow_width
        self.of_point = nn.Linear(config.w_dim, width)
        self.of_time = nn.Linear(2 * WAVES, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), _still(width, width))
            for _ in range(config.flow_layers)
        )
        self.out = nn.Sequential(nn.LayerNorm(width), _still(width, config.w_dim))
        self.register_buffer("waves", torch.linspace(0.0, FASTEST, WAVES).exp(), persistent=False)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        phase = t * self.waves
        hidden = self.of_point(x) + self.of_time(torch.cat([phase.sin(), phase.cos()], dim=1))
        for layer in self.layers:
            hidden = hidden + layer(hidden)
        velocity: Tensor = self.out(hidden)
        return velocity


def _still(inputs: int, outputs: int) -> nn.Linear:
    """A layer that at first gives the same for all inputs: points hardly move then."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    return layer


class FlowMapping(nn.Module):
    """z (n, d) ~ N(0, I)  ->  codes (n, d) of second moment 1, where the flow has moved z to from time 0 to time 1."""

    def __init__(self, config: LatentFlowConfig) -> None:
        super().__init__()
        self.steps = config.flow_steps
        self.velocity = Velocity(config)

    def forward(self, z: Tensor, truncation: float = 1.0, labels: Tensor | None = None) -> Tensor:
        """By Heun's method. Noise is scaled by `truncation`: at 0 every code is the one of no noise."""
        x, length = z * truncation, 1.0 / self.steps
        for step in range(self.steps):
            t = torch.full((len(x), 1), step * length, device=x.device)
            velocity = self.velocity(x, t)
            ahead = self.velocity(x + velocity * length, t + length)
            x = x + (velocity + ahead) * (length / 2)
        return normalise(x)

    def matching_loss(self, codes: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """How far the velocity is from that of straight lines from noise z (n, d) to codes (n, d) at times t (n, 1).

        The mean squared difference: Lipman et al., equation 23 with no noise left at the codes.
        """
        found: Tensor = self.velocity(z.lerp(codes, t), t)
        return (found - (codes - z)).square().mean()


class DecoderBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, the first one's maps scaled and shifted by the code."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.affine = nn.Linear(w_dim, 2 * out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False) if in_channels != out_channels else None
        for convolution in (self.conv0, self.conv1):
            nn.init.kaiming_normal_(convolution.weight, a=LEAKY_SLOPE)
        nn.init.zeros_(self.affine.weight)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        scale, shift = self.affine(codes)[:, :, None, None].chunk(2, dim=1)
        y = F.leaky_relu(plain_convolution(x, self.conv0), LEAKY_SLOPE) * (1.0 + scale) + shift
        beside = x if self.shortcut is None else plain_convolution(x, self.shortcut)
        out: Tensor = (beside + F.leaky_relu(plain_convolution(y, self.conv1), LEAKY_SLOPE)) * 0.5**0.5
        return out


class Decoder(nn.Module):
    """One code for all layers, ws (n, 1, w_dim)  ->  images (n, 3, resolution, resolution), about [-1, 1]."""

    num_ws = 1

    def __init__(self, config: LatentFlowConfig) -> None:
        super().__init__()
        widths = config.channels
        self.first = nn.Linear(config.w_dim, widths[0] * 16)
        self.blocks = nn.ModuleList(
            DecoderBlock(inputs, width, config.w_dim) for inputs, width in pairwise([widths[0], *widths])
        )
        self.torgb = nn.Conv2d(widths[-1], 3, 3, padding=1)
        self.map_bytes = 4 * max(width * (4 << level) ** 2 for level, width in enumerate(widths))

    def forward(self, ws: Tensor, cache: int | None = None) -> Tensor:
        """`cache` is a number of bytes: no more images are drawn at a time than have feature maps of that size."""
        at_once = len(ws) if cache is None else max(1, cache // self.map_bytes)
        return torch.cat([self._drawn(part[:, 0]) for part in ws.split(at_once)])

    def _drawn(self, codes: Tensor) -> Tensor:
        x = self.first(codes).view(len(codes), -1, 4, 4).contiguous(memory_format=torch.channels_last)
        for number, block in enumerate(self.blocks):
            x = block(F.interpolate(x, scale_factor=2.0, mode="nearest") if number else x, codes)
        return plain_convolution(F.leaky_relu(x, LEAKY_SLOPE), self.torgb)


class LatentFlow(StyleBasedGenerator):
    """A flow from noise to codes, and their decoder."""

    mapping: FlowMapping
    synthesis: Decoder

    def __init__(self, config: LatentFlowConfig) -> None:
        super().__init__(FlowMapping(config), Decoder(config))
        self.config = config
