"""Residual networks: 4 to 10 layers for small images, and torchvision's 18 to 152 layers from scratch.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016). Each is a function (channels, image_size).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.models.resnet import BasicBlock

from ktl.models.backbone import Backbone

WIDTHS = (64, 128, 256, 512)
SLIM = (32, 64, 128, 192)


class SmallResNet(nn.Module):
    """images -> (n, last width): a 3 x 3 stem, then one basic block for each width after the stem's.

    All but a block as wide as the stem halve the side; the stem does with `stem_stride` 2.
    """

    def __init__(self, channels: int, widths: Sequence[int], stem_stride: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 3, stem_stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        pairs = itertools.pairwise(widths)
        self.blocks = nn.Sequential(*(_stage(wide, wider, 1 if wide == wider else 2) for wide, wider in pairs))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.blocks(F.relu(self.norm(self.stem(images))))
        return maps.mean(dim=(2, 3))


def _stage(inputs: int, width: int, stride: int) -> BasicBlock:
    if stride == 1 and inputs == width:
        return BasicBlock(inputs, width)
    shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
    return BasicBlock(inputs, width, stride, shortcut)


def resnet4(channels: int, image_size: int) -> Backbone:
    """One stage, 64 wide."""
    return _small(channels, stages=1)


def resnet6(channels: int, image_size: int) -> Backbone:
    """Two stages, to 128 wide."""
    return _small(channels, stages=2)


def resnet8(channels: int, image_size: int) -> Backbone:
    """Three stages, to 256 wide."""
    return _small(channels, stages=3)


def resnet10(channels: int, image_size: int) -> Backbone:
    """Four stages, to 512 wide."""
    return _small(channels, stages=4)


def _small(channels: int, stages: int) -> Backbone:
    return Backbone(SmallResNet(channels, (WIDTHS[0], *WIDTHS[:stages])), WIDTHS[stages - 1])


def resnet8_slim(channels: int, image_size: int) -> Backbone:
    """A stem of stride 2, three stages to 192 wide: a quarter of a ResNet8's work at twice the side."""
    return Backbone(SmallResNet(channels, SLIM, stem_stride=2), SLIM[-1])


def resnet18(channels: int, image_size: int) -> Backbone:
    """11.2 million parameters."""
    return _torchvision(resnet.resnet18(weights=None), channels, 512)


def resnet34(channels: int, image_size: int) -> Backbone:
    """21.3 million parameters."""
    return _torchvision(resnet.resnet34(weights=None), channels, 512)


def resnet50(channels: int, image_size: int) -> Backbone:
    """23.5 million parameters."""
    return _torchvision(resnet.resnet50(weights=None), channels, 2048)


def resnet101(channels: int, image_size: int) -> Backbone:
    """42.5 million parameters."""
    return _torchvision(resnet.resnet101(weights=None), channels, 2048)


def resnet152(channels: int, image_size: int) -> Backbone:
    """58.1 million parameters."""
    return _torchvision(resnet.resnet152(weights=None), channels, 2048)


def _torchvision(body: resnet.ResNet, channels: int, width: int) -> Backbone:
    if channels != 3:
        body.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(body.conv1.weight, mode="fan_out", nonlinearity="relu")
    body.fc = nn.Identity()
    return Backbone(body, width)
