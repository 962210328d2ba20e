"""GoogLeNet from scratch: Szegedy et al., "Going Deeper with Convolutions" (CVPR 2015)."""

from __future__ import annotations

from torch import nn
from torchvision.models.googlenet import GoogLeNet

from ktl.models.backbone import Backbone

WIDTH = 1024


def googlenet(channels: int, image_size: int) -> Backbone:
    """5.6 million parameters; torchvision's (with batch normalisation), without its auxiliary heads and dropout."""
    body = GoogLeNet(aux_logits=False, init_weights=True)
    if channels != 3:
        body.conv1.conv = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.trunc_normal_(body.conv1.conv.weight, std=0.01, a=-2, b=2)  # as torchvision's own
    body.dropout = nn.Identity()
    body.fc = nn.Identity()
    return Backbone(body, WIDTH)
