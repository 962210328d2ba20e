"""Depth-wise convolutions with a stride, made fast to train through on a processor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SparedStrides(nn.Conv2d):
    """A depth-wise convolution with a stride. Where a gradient will pass it computes all positions and leaves some out.

    The same numbers, to rounding. On processors the way back takes a tenth of the time: the library has no fast one for
    strides. Without a gradient, and so in an exported graph, it is an ordinary convolution.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and x.requires_grad and x.device.type == "cpu"):
            return super().forward(x)
        everywhere = F.conv2d(x, self.weight, self.bias, 1, self.padding, self.dilation, self.groups)
        down, across = self.stride
        return everywhere[:, :, ::down, ::across]


def spare_strides(network: nn.Module) -> None:
    """Turns every depth-wise convolution with a stride into one of `SparedStrides`, with the same weights and names."""
    for name, module in list(network.named_modules()):
        if type(module) is nn.Conv2d and module.groups == module.in_channels > 1 and max(module.stride) > 1:
            network.set_submodule(name, _spared(module))


def _spared(module: nn.Conv2d) -> SparedStrides:
    """No new weights are drawn, so that what is drawn after it stays the same."""
    spared = SparedStrides.__new__(SparedStrides)
    spared.__dict__ = module.__dict__
    return spared
