"""StyleGAN2: a mapping network and a style-modulated synthesis network, in plain torch.

Written from Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020, arXiv 1912.04958);
class conditioning from its successor on limited data (NeurIPS 2020, arXiv 2006.06676).
Module and parameter names are those of the official state dictionaries, so that released weights fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.generators.networks.bounds import ChannelBase, Classes, Layers, Number, Resolution, Width
from ktl.generators.networks.convolution import added, bounded, scaled_convolution
from ktl.generators.networks.mapping import ACTIVATION_GAIN, LEAKY_SLOPE, Dense, MappingNetwork
from ktl.generators.networks.style_based import StyleBasedGenerator

Architecture = Literal["orig", "skip", "resnet"]


@dataclass(frozen=True)
class StyleGAN2Config:
    """Sizes of a StyleGAN2; a layer at resolution r has min(channel_base / r, channel_max) channels.

    With `c_dim` classes the mapping network also takes one-hot labels. The `architecture` is how resolutions are
    joined: `skip` sums up-sampled RGB images, `resnet` adds a shortcut round each block, `orig` does neither.
    """

    z_dim: Width = 128
    w_dim: Width = 128
    resolution: Resolution = 32
    channel_base: ChannelBase = 768
    channel_max: Width = 128
    mapping_layers: Layers = 2
    mapping_lr_multiplier: Number = 0.05
    c_dim: Classes = 0
    conv_clamp: Number | None = None  # bound on activations; networks trained in float16 have 256
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


def blur(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Depth-wise convolution of x (n, c, h, w) with `kernel` (k, k), plus `bias` (c,); zero padding on each side."""
    channels = x.shape[1]
    weight = kernel.to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv2d(x, weight, None if bias is None else bias.to(x.dtype), padding=padding, groups=channels)


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Doubles the resolution of x (n, c, h, w): zeros between the pixels, then the low-pass filter."""
    channels = x.shape[1]
    weight = (kernel * 4.0).to(x.dtype).expand(channels, 1, *kernel.shape)
    weight = weight.contiguous(memory_format=torch.channels_last)  # tells the layout even where a single image does not
    return F.conv_transpose2d(x, weight, stride=2, padding=1, groups=channels)


class SynthesisLayer(nn.Module):
    """Modulated 3 x 3 convolution, constant noise, bias, leaky ReLU; doubles the resolution when `up`.

    x (n, c_in, h, w) and what `modulation` tells  ->  (n, c_out, h', w'), times `gain`.
    """

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
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.up = up
        # a positive gain commutes with the leaky ReLU, and as part of the scale it costs nothing
        self.gain = ACTIVATION_GAIN * gain
        self.bound = None if conv_clamp is None else conv_clamp * gain
        self.affine = Dense(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", resample_filter())

    def modulation(self, w: Tensor) -> list[Tensor]:
        """w (n, w_dim)  ->  the style (n, c_in) of the inputs and the scale (n, c_out) that demodulates the outputs."""
        style = self.affine(w)
        scale = (style.square() @ self.weight.square().sum(dim=(2, 3)).T + 1e-8).rsqrt() * self.gain
        return [style, scale * 4.0 if self.up else scale]  # zeros between pixels leave a quarter of the mean

    def forward(self, x: Tensor, style: Tensor, scale: Tensor) -> Tensor:
        bias, noise = self.bias * self.gain, self.noise_const * (self.noise_strength * self.gain)
        own: Tensor | None = bias  # of the convolution or the blur
        if bias.requires_grad:  # with its own bias, a blur would compute its kernel's gradient too
            own, noise = None, noise + bias[:, None, None]
        if self.up:
            x = scaled_convolution(x, self.weight, style, scale, transpose=True)
            x = blur(x, self.resample_filter, own, padding=1)
        else:
            x = scaled_convolution(x, self.weight, style, scale, own, padding=1)
        x = added(x, noise)
        x = F.leaky_relu(x, LEAKY_SLOPE, inplace=not x.requires_grad)
        return x if self.bound is None else bounded(x, self.bound)


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to the image's channels, without demodulation."""

    def __init__(self, in_channels: int, w_dim: int, conv_clamp: float | None = None) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = Dense(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.weight_gain = 1.0 / math.sqrt(in_channels)

    def modulation(self, w: Tensor) -> list[Tensor]:
        """w (n, w_dim)  ->  the style (n, c_in)."""
        return [self.affine(w) * self.weight_gain]

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        kernel = (self.weight.flatten(1) * style[:, None]).to(x.dtype)  # (n, 3, c_in)
        # a product of matrices, a row for each pixel: torch is slow at convolutions to 3 channels
        rgb = added(x.flatten(2).transpose(1, 2) @ kernel.transpose(1, 2), self.bias)
        rgb = rgb.transpose(1, 2).unflatten(2, x.shape[2:])
        return rgb if self.conv_clamp is None else bounded(rgb, self.conv_clamp)


class Shortcut(nn.Module):
    """The shortcut round a block in the `resnet` architecture: a 1 x 1 convolution, then up-sampling."""

    resample_filter: Tensor

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.weight_gain = 1.0 / math.sqrt(in_channels)
        self.register_buffer("resample_filter", resample_filter())

    def forward(self, x: Tensor) -> Tensor:
        return upsample(F.conv2d(x, (self.weight * self.weight_gain).to(x.dtype)), self.resample_filter)


Modulations = dict[str, list[Tensor]]  # of a block's layers and its torgb, by name


class SynthesisBlock(nn.Module):
    """The layers of one resolution: an up-sampling layer (a learned constant at 4 x 4), a layer, and the RGB image."""

    resample_filter: Tensor

    def __init__(self, config: StyleGAN2Config, in_channels: int, resolution: int) -> None:
        super().__init__()
        out_channels, w_dim, clamp = config.channels(resolution), config.w_dim, config.conv_clamp
        self.is_first = in_channels == 0
        self.is_residual = config.architecture == "resnet" and not self.is_first
        self.draws = config.architecture == "skip" or resolution == config.resolution
        self.sum_gain = math.sqrt(0.5) if self.is_residual else 1.0  # keeps the variance of a sum of two
        self.map_bytes = 4 * out_channels * resolution**2  # of one image's feature map in float32
        if self.is_first:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution, up=True, conv_clamp=clamp)
        self.conv1 = SynthesisLayer(
            out_channels, out_channels, w_dim, resolution, up=False, conv_clamp=clamp, gain=self.sum_gain
        )
        if self.draws:
            self.torgb = ToRGB(out_channels, w_dim, clamp)
        if self.is_residual:
            self.skip = Shortcut(in_channels, out_channels)
        self.register_buffer("resample_filter", resample_filter())

    @property
    def layers(self) -> int:
        """How many w vectors the block's convolutions use up; its ToRGB shares the next block's first one."""
        return 1 if self.is_first else 2

    def modulations(self, ws: tuple[Tensor, ...]) -> Modulations:
        """One w (n, w_dim) for each layer and one for torgb  ->  what each part's `modulation` makes of its own."""
        modulations = {"conv1": self.conv1.modulation(ws[-2])}
        if not self.is_first:
            modulations["conv0"] = self.conv0.modulation(ws[0])
        if self.draws:
            modulations["torgb"] = self.torgb.modulation(ws[-1])
        return modulations

    def forward(self, x: Tensor | None, image: Tensor | None, modulations: Modulations) -> tuple[Tensor, Tensor | None]:
        """x (n, c_in, r/2, r/2) and the image so far (n, 3, r/2, r/2)  ->  (n, c_out, r, r) and (n, 3, r, r)."""
        style, scale = modulations["conv1"]
        if x is None:
            out: Tensor = self.conv1(self.const.expand(len(style), -1, -1, -1), style, scale)
        else:
            out = self.conv1(self.conv0(x, *modulations["conv0"]), style, scale)
        if self.is_residual:
            out = out + self.skip(x) * self.sum_gain
        if image is not None:
            image = upsample(image, self.resample_filter)
        if self.draws:
            rgb = self.torgb(out, *modulations["torgb"])
            image = rgb if image is None else added(rgb, image)
        return out, image


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
        self.map_bytes = max(block.map_bytes for block in self.children() if isinstance(block, SynthesisBlock))

    def forward(self, ws: Tensor, cache: int | None = None) -> Tensor:
        """`cache` is a number of bytes. Once a layer's feature maps do not fit it, fewer images are drawn at a time.

        None, as in training, draws all at once. The images are the same, to rounding.
        """
        steps: list[Step] = []
        first = 0
        for block in self.children():
            assert isinstance(block, SynthesisBlock)
            steps.append((block, block.modulations(ws[:, first : first + block.layers + 1].unbind(dim=1))))
            first += block.layers
        return torch.cat(drawn(steps, None, None, cache))


Step = tuple[SynthesisBlock, Modulations]


def drawn(steps: list[Step], x: Tensor | None, image: Tensor | None, cache: int | None) -> list[Tensor]:
    """The images, in parts, that the remaining steps make of the feature maps `x` and the images so far."""
    if not steps:
        assert image is not None
        return [image]
    (block, modulations), *rest = steps
    if x is None or cache is None or (at_once := max(1, cache // block.map_bytes)) >= len(x):
        x, image = block(x, image, modulations)
        return drawn(rest, x, image, cache)
    images: list[Tensor] = []
    for start in range(0, len(x), at_once):
        part = slice(start, start + at_once)
        ours = [(each, {name: [value[part] for value in its[name]] for name in its}) for each, its in steps]
        images += drawn(ours, x[part], None if image is None else image[part], cache)
    return images


class StyleGAN2(StyleBasedGenerator):
    """StyleGAN2's mapping and synthesis network."""

    synthesis: SynthesisNetwork

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__(MappingNetwork(config), SynthesisNetwork(config))
        self.config = config
