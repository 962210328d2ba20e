"""The adversary that teaches a generator: a small residual critic without normalisation layers."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.generators.networks.mapping import LEAKY_SLOPE
from ktl.generators.networks.stylegan2 import StyleGAN2Config


class ResidualDown(nn.Module):
    """Two 3 x 3 convolutions and a 2 x 2 average, beside a 1 x 1 shortcut; halves the resolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.conv0(x), LEAKY_SLOPE)
        y = F.leaky_relu(self.conv1(y), LEAKY_SLOPE)
        return (F.avg_pool2d(y, 2) + F.avg_pool2d(self.shortcut(x), 2)) * math.sqrt(0.5)


class Discriminator(nn.Module):
    """images (n, 3, r, r) in [-1, 1]  ->  realness (n,). Channels mirror the generator's.

    The batch's standard deviation enters as one more map (Karras et al. 2018), so that a collapse shows.
    """

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        resolutions = config.resolutions[::-1]
        self.from_rgb = nn.Conv2d(3, config.channels(resolutions[0]), 1)
        self.blocks = nn.Sequential(
            *(ResidualDown(config.channels(r), config.channels(r // 2)) for r in resolutions[:-1])
        )
        last = config.channels(4)
        self.last = nn.Conv2d(last + 1, last, 3, padding=1)
        self.score = nn.Linear(last * 16, 1)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, a=LEAKY_SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        x = F.leaky_relu(self.from_rgb(images), LEAKY_SLOPE)
        x = self.blocks(x)
        spread = (x.float().var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        x = torch.cat([x, spread.to(x.dtype).expand(x.shape[0], 1, *x.shape[2:])], dim=1)
        x = F.leaky_relu(self.last(x), LEAKY_SLOPE)
        score: Tensor = self.score(x.flatten(1)).float().squeeze(1)
        return score
