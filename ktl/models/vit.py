"""Vision transformers from scratch: Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer

from ktl.models.backbone import Backbone

WIDTH = 768


class PaddedTransformer(nn.Module):
    """images -> (n, 768), the class token; images are padded with grey to whole patches."""

    def __init__(self, channels: int, image_size: int, patch: int) -> None:
        super().__init__()
        self.padding = -image_size % patch
        self.transformer = VisionTransformer(
            image_size=image_size + self.padding,
            patch_size=patch,
            num_layers=12,
            num_heads=12,
            hidden_dim=WIDTH,
            mlp_dim=4 * WIDTH,
        )
        if channels != 3:
            projection = nn.Conv2d(channels, WIDTH, patch, stride=patch)
            nn.init.trunc_normal_(projection.weight, std=math.sqrt(1 / (channels * patch * patch)))
            nn.init.zeros_(projection.bias)  # type: ignore[arg-type]
            self.transformer.conv_proj = projection
        self.transformer.heads = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.transformer(F.pad(images, (0, self.padding, 0, self.padding)))
        return tokens


def vit_b16(channels: int, image_size: int) -> Backbone:
    """85.7 million parameters; 2 x 2 patches at 32 x 32."""
    return Backbone(PaddedTransformer(channels, image_size, 16), WIDTH)


def vit_b32(channels: int, image_size: int) -> Backbone:
    """87.4 million parameters; one patch at 32 x 32."""
    return Backbone(PaddedTransformer(channels, image_size, 32), WIDTH)
