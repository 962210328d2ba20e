"""The feature maps of a pre-trained network, from fine to coarse, and made fast to descend through.

The network stays as it is: a discriminator that looks through it, rather than at pixels, knows from the first step what
natural images are made of (Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021, arXiv 2111.01007).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ktl.errors import UsageError
from ktl.models.depthwise import spare_strides

STRIDES = (4, 8, 16, 32)  # of the maps that are looked at, in pixels


class PretrainedNetwork(Protocol):
    """What is needed of an encoder (`ktl.encoders.base`): its network, and how it wants pixels from 0 to 1."""

    name: str
    network: nn.Module
    fingerprint: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


class FeatureMaps(nn.Module):
    """images (n, 3, r, r) in [-1, 1]  ->  up to four maps (n, c, s, s), each of a lower resolution than the one before.

    Images are scaled to `size` pixels. Of each resolution it is the map that goes into whatever lowers it. Raises
    UsageError for a network that has fewer than two.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, pretrained: PretrainedNetwork, size: int) -> None:
        super().__init__()
        if not isinstance(getattr(pretrained, "network", None), nn.Module):
            raise UsageError(
                f"encoder {pretrained.name} has no attribute 'network' to look through: choose another one"
            )
        self.size = size
        self.fingerprint = pretrained.fingerprint
        self.network = copy.deepcopy(pretrained.network).eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(pretrained.mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(pretrained.deviation)[:, None, None])
        self.network.to(memory_format=torch.channels_last)
        with torch.no_grad():
            _fold_normalisations(self.network, lambda: self._run(torch.zeros(1, 3, size, size)))
            spare_strides(self.network)
            self.network.to(torch.bfloat16)
            self._maps: dict[int, Tensor] = {}
            for module in self.network.modules():
                module.register_forward_hook(self._keep)
            self.shapes = [maps.shape[1:3] for maps in self(torch.zeros(1, 3, size, size))]  # channels, side
        if len(self.shapes) < 2:
            raise UsageError(
                f"encoder {pretrained.name} has no feature maps at strides of 4 to 32: choose a convolutional network"
            )

    def forward(self, images: Tensor) -> list[Tensor]:
        self._maps = {}
        self._run(images)
        kept, self._maps = self._maps, {}
        sides = [-(-self.size // stride) for stride in STRIDES]
        return [kept[side] for side in sides if side > 1 and side in kept]

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.mean.device

    def _run(self, images: Tensor) -> None:
        scaled = F.interpolate(images, size=(self.size, self.size), mode="bilinear", align_corners=False)
        normalised = ((scaled + 1.0) / 2.0 - self.mean) / self.deviation
        dtype = next(self.network.parameters()).dtype
        self.network(normalised.to(dtype, memory_format=torch.channels_last))

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """After each module: one around others comes later, so that its input replaces what is inside it."""
        if not (_is_maps(output) and _is_maps(inputs[0])):
            return
        before, after = inputs[0].shape[2], output.shape[2]
        if after <= before:  # which padding is not
            self._maps[after] = output
        if after < before:
            self._maps[before] = inputs[0]


def _is_maps(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4


def _fold_normalisations(network: nn.Module, run: Callable[[], None]) -> None:
    """Takes each batch normalisation, fixed as it is, into the convolution before it: one pass over memory less."""
    convolved: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # with its output, so that no other tensor gets the same id
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            convolved[id(output)] = (module, output)
        elif isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in convolved:
            pairs.append((convolved[id(inputs[0])][0], module))

    hooks = [module.register_forward_hook(look) for module in network.modules()]
    run()
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in network.named_modules()}
    for convolution, normalisation in pairs:
        folded = fuse_conv_bn_eval(convolution, normalisation)
        convolution.weight, convolution.bias = folded.weight, folded.bias
        network.set_submodule(names[normalisation], nn.Identity())
