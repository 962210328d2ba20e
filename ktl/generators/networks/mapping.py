"""From noise to style: the mapping network that StyleGAN2 and StyleGAN3 share, and its linear layer.

Written from Karras et al. (CVPR 2019, arXiv 1812.04948; CVPR 2020, arXiv 1912.04958); class conditioning from Karras et
al. (NeurIPS 2020, arXiv 2006.06676). Parameter names are those of the official state dictionaries.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAKY_SLOPE = 0.2
ACTIVATION_GAIN = math.sqrt(2.0)  # keeps the second moment of a leaky ReLU's input


class Dense(nn.Module):
    """Linear layer with equalised learning rate: weights are stored at unit scale and scaled in use."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = torch.addmm(self.bias * self.bias_gain, x, self.weight.T, alpha=self.weight_gain)
        return F.leaky_relu(x, LEAKY_SLOPE) * ACTIVATION_GAIN if self.activate else x


def normalise(x: Tensor) -> Tensor:
    """Scales each row of x (n, d) to a second moment of 1."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class MappingSizes(Protocol):
    """What a mapping network needs of its generator's configuration."""

    @property
    def z_dim(self) -> int: ...

    @property
    def w_dim(self) -> int: ...

    @property
    def c_dim(self) -> int: ...

    @property
    def mapping_layers(self) -> int: ...

    @property
    def mapping_lr_multiplier(self) -> float: ...


def add_dense_layers(network: nn.Module, sizes: MappingSizes, inputs: int) -> None:
    """Gives a mapping network its layers fc0, fc1, ..., from `inputs` numbers to w."""
    widths = [inputs] + [sizes.w_dim] * sizes.mapping_layers
    for i in range(sizes.mapping_layers):
        layer = Dense(widths[i], widths[i + 1], lr_multiplier=sizes.mapping_lr_multiplier, activate=True)
        network.add_module(f"fc{i}", layer)


class MappingNetwork(nn.Module):
    """z (n, z_dim) ~ N(0, I), one-hot labels (n, c_dim) if conditional  ->  w (n, w_dim).

    `w_avg` is the running mean of w that truncation pulls towards.
    """

    w_avg: Tensor

    def __init__(self, sizes: MappingSizes) -> None:
        super().__init__()
        self.layers = sizes.mapping_layers
        self.c_dim, w_dim = sizes.c_dim, sizes.w_dim
        if self.c_dim > 0:
            self.embed = Dense(self.c_dim, w_dim)
        add_dense_layers(self, sizes, sizes.z_dim + (w_dim if self.c_dim > 0 else 0))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, truncation: float = 1.0, labels: Tensor | None = None) -> Tensor:
        w = normalise(z)
        if self.c_dim > 0:
            if labels is None:
                raise ValueError(f"a generator of {self.c_dim} classes needs one-hot labels beside z")
            w = torch.cat([w, normalise(self.embed(labels))], dim=1)
        for i in range(self.layers):
            w = self.get_submodule(f"fc{i}")(w)
        return w if truncation == 1.0 else self.w_avg.lerp(w, truncation)
