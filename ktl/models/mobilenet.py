"""MobileNetV2 for small images, from scratch: Sandler et al., "MobileNetV2: Inverted Residuals" (CVPR 2018)."""

from __future__ import annotations

from torch import nn
from torchvision.models.mobilenetv2 import MobileNetV2

from ktl.models.backbone import Backbone
from ktl.models.depthwise import spare_strides

# expansion, width, blocks, stride of the first block: the paper's table 2, the first two strides 1 for small images
BLOCKS = [
    [1, 16, 1, 1],
    [6, 24, 2, 1],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


def mobilenetv2(channels: int, image_size: int) -> Backbone:
    """2.2 million parameters; torchvision's layers, the stem and the second group of blocks with stride 1."""
    body = MobileNetV2(inverted_residual_setting=BLOCKS)
    stem = nn.Conv2d(channels, 32, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out")
    body.features[0][0] = stem
    body.classifier = nn.Identity()
    spare_strides(body)
    return Backbone(body, body.last_channel)
