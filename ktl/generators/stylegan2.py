"""StyleGAN2: a mapping network and a style-modulated synthesis network, in plain torch.

Written from Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020, arXiv 1912.04958);
class conditioning from its successor on limited data (NeurIPS 2020, arXiv 2006.06676).
Module and parameter names are those of the official state dictionaries, so that released weights fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.generators.convolution import bounded, scaled, scaled_convolution
from ktl.generators.mapping import ACTIVATION_GAIN, LEAKY_SLOPE, Dense, MappingNetwork

Architecture = Literal["orig", "skip", "resnet"]
ARCHITECTURES = get_args(Architecture)


@dataclass(frozen=True)
class StyleGAN2Config:
    """Sizes of a StyleGAN2; a layer at resolution r has min(channel_base / r, channel_max) channels.

    With `c_dim` classes the mapping network also takes one-hot labels. The `architecture` is how resolutions are
    joined: `skip` sums up-sampled RGB images, `resnet` adds a shortcut round each block, `orig` does neither.
    """

    z_dim: int = 128
    w_dim: int = 128
    resolution: int = 32
    channel_base: int = 768
    channel_max: int = 128
    mapping_layers: int = 2
    mapping_lr_multiplier: float = 0.05
    c_dim: int = 0
    conv_clamp: float | None = None  # bound on activations; networks trained in float16 have 256
    architecture: Architecture = "skip"

    def channels(self, resolution: int) -> int:
        """Number of feature maps of the layers at `resolution` pixels."""
        return min(self.channel_base // resolution, self.channel_max)

    @property
    def resolutions(self) -> list[int]:
        """4, 8, ... up to the image size."""
        return [2**i for i in range(2, int(math.log2(self.resolution)) + 1)]


def resample_filter() -> Tensor:
    """The binomial low-pass filter [1, 3, 3, 1] as a normalised (4, 4) kernel."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps)
    return kernel / kernel.sum()


def blur(x: Tensor, kernel: Tensor, padding: int, gain: float) -> Tensor:
    """Depth-wise convolution of x (n, c, h, w) with `kernel` (k, k), times `gain`; zero padding on each side."""
    channels = x.shape[1]
    weight = (kernel * gain).to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv2d(x, weight, padding=padding, groups=channels)


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Doubles the resolution of x (n, c, h, w): zeros between the pixels, then the low-pass filter."""
    channels = x.shape[1]
    weight = (kernel * 4.0).to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv_transpose2d(x, weight, stride=2, padding=1, groups=channels)


class SynthesisLayer(nn.Module):
    """Modulated 3 x 3 convolution, constant noise, bias, leaky ReLU; doubles the resolution when `up`."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        up: bool,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.up = up
        self.conv_clamp = conv_clamp
        self.affine = Dense(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", resample_filter())

    def forward(self, x: Tensor, w: Tensor, gain: float = 1.0) -> Tensor:
        style = self.affine(w)
        # a positive gain may as well come before the leaky ReLU, in what is multiplied anyhow
        before = ACTIVATION_GAIN * gain
        scale = (style.square() @ self.weight.square().sum(dim=(2, 3)).T + 1e-8).rsqrt() * before
        added = (self.bias[:, None, None] + self.noise_const * self.noise_strength)[None] * before
        added = added.contiguous(memory_format=torch.channels_last)  # else the sum would be laid out by channels
        if self.up:
            x = scaled_convolution(x, self.weight, style, transpose=True)
            x = scaled(blur(x, self.resample_filter, padding=1, gain=4.0), scale, added)
        else:
            x = scaled_convolution(x, self.weight, style, scale, added, padding=1)
        x = F.leaky_relu(x, LEAKY_SLOPE, inplace=not x.requires_grad)
        return x if self.conv_clamp is None else bounded(x, self.conv_clamp * gain)


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to the image's channels, without demodulation."""

    def __init__(self, in_channels: int, w_dim: int, conv_clamp: float | None = None) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = Dense(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.weight_gain = 1.0 / math.sqrt(in_channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w) * self.weight_gain
        rgb = scaled_convolution(x, self.weight, style) + self.bias.to(x.dtype)[:, None, None]
        return rgb if self.conv_clamp is None else bounded(rgb, self.conv_clamp)


class Shortcut(nn.Module):
    """The `resnet` architecture's way round a block: a 1 x 1 convolution, then up-sampling."""

    resample_filter: Tensor

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.weight_gain = 1.0 / math.sqrt(in_channels)
        self.register_buffer("resample_filter", resample_filter())

    def forward(self, x: Tensor) -> Tensor:
        return upsample(F.conv2d(x, (self.weight * self.weight_gain).to(x.dtype)), self.resample_filter)


class SynthesisBlock(nn.Module):
    """The layers of one resolution: an up-sampling layer (a learned constant at 4 x 4), a layer, and the RGB image."""

    resample_filter: Tensor

    def __init__(self, config: StyleGAN2Config, in_channels: int, resolution: int) -> None:
        super().__init__()
        out_channels, w_dim, clamp = config.channels(resolution), config.w_dim, config.conv_clamp
        self.is_first = in_channels == 0
        self.is_residual = config.architecture == "resnet" and not self.is_first
        self.draws = config.architecture == "skip" or resolution == config.resolution
        if self.is_first:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution, up=True, conv_clamp=clamp)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution, up=False, conv_clamp=clamp)
        if self.draws:
            self.torgb = ToRGB(out_channels, w_dim, clamp)
        if self.is_residual:
            self.skip = Shortcut(in_channels, out_channels)
        self.register_buffer("resample_filter", resample_filter())

    @property
    def layers(self) -> int:
        """How many w vectors the block's convolutions use up; its ToRGB shares the next block's first one."""
        return 1 if self.is_first else 2

    def features(self, x: Tensor | None, ws: list[Tensor]) -> Tensor:
        """x (n, c_in, r/2, r/2), none for the first block  ->  (n, c_out, r, r)."""
        if x is None:
            out: Tensor = self.conv1(self.const.expand(len(ws[0]), -1, -1, -1), ws[-2])
        elif self.is_residual:
            gain = math.sqrt(0.5)  # keeps the variance of a sum of two
            out = self.conv1(self.conv0(x, ws[0]), ws[-2], gain) + self.skip(x) * gain
        else:
            out = self.conv1(self.conv0(x, ws[0]), ws[-2])
        return out

    def forward(self, x: Tensor | None, image: Tensor | None, ws: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        x = self.features(x, ws)
        if image is not None:
            image = upsample(image, self.resample_filter)
        if self.draws:
            rgb = self.torgb(x, ws[-1])
            image = rgb if image is None else image + rgb
        return x, image


class SynthesisNetwork(nn.Module):
    """ws (n, layers, w_dim)  ->  images (n, 3, resolution, resolution), about [-1, 1]."""

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.resolutions = config.resolutions
        in_channels = 0
        for resolution in self.resolutions:
            self.add_module(f"b{resolution}", SynthesisBlock(config, in_channels, resolution))
            in_channels = config.channels(resolution)
        self.num_ws = 2 * len(self.resolutions)
        self.largest_map = max(config.channels(size) * size**2 for size in self.resolutions)  # numbers of one image

    def forward(self, ws: Tensor) -> Tensor:
        x: Tensor | None = None
        image: Tensor | None = None
        first = 0
        for resolution in self.resolutions:
            block = self.get_submodule(f"b{resolution}")
            assert isinstance(block, SynthesisBlock)
            x, image = block(x, image, list(ws[:, first : first + block.layers + 1].unbind(dim=1)))
            first += block.layers
        assert image is not None
        return image


class StyleGAN2(nn.Module):
    """The two networks together; `forward` takes z (n, z_dim) to images (n, 3, resolution, resolution)."""

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(
            z_dim=config.z_dim,
            c_dim=config.c_dim,
            w_dim=config.w_dim,
            layers=config.mapping_layers,
            lr_multiplier=config.mapping_lr_multiplier,
        )
        self.synthesis = SynthesisNetwork(config)

    def broadcast(self, w: Tensor) -> Tensor:
        """One w (n, w_dim) for every layer: (n, layers, w_dim)."""
        return w[:, None, :].expand(-1, self.synthesis.num_ws, -1)

    def forward(self, z: Tensor, truncation: float = 1.0, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.synthesis(self.broadcast(self.mapping(z, truncation, labels)))
        return images
