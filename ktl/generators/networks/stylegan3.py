"""StyleGAN3: a generator whose every layer is equivariant to translation (T) or also to rotation (R).

Written from Karras et al., "Alias-Free Generative Adversarial Networks" (NeurIPS 2021, arXiv 2106.12423).
Module and parameter names are those of the official state dictionaries, so that released weights fit.
R is T with 1 x 1 convolutions and radial filters (and, in the released networks, twice the channels).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.generators.networks.convolution import bounded, scaled_convolution
from ktl.generators.networks.filters import downsample, lowpass_filter, upsample
from ktl.generators.networks.mapping import ACTIVATION_GAIN, LEAKY_SLOPE, Dense, MappingNetwork, normalise
from ktl.generators.networks.style_based import StyleBasedGenerator
from ktl.generators.networks.stylegan3_layers import Band, LayerPlan, StyleGAN3Config, layer_plans


class FourierInput(nn.Module):
    """w (n, w_dim)  ->  (n, channels, size, size): waves of random frequencies, shifted and turned as w says."""

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, w_dim: int, band: Band) -> None:
        super().__init__()
        self.band = band
        freqs = torch.randn(band.channels, 2)
        radii = freqs.norm(dim=1, keepdim=True)
        freqs = freqs / (radii * radii.square().exp().pow(0.25)) * band.cutoff  # about uniform within the band
        self.weight = nn.Parameter(torch.randn(band.channels, band.channels))
        self.affine = Dense(w_dim, 4)
        nn.init.zeros_(self.affine.weight)
        self.affine.bias.data[0] = 1.0  # no rotation
        self.register_buffer("transform", torch.eye(3))  # callers may set it to move the whole image
        self.register_buffer("freqs", freqs)
        self.register_buffer("phases", torch.rand(band.channels) - 0.5)

    def transforms(self, w: Tensor) -> Tensor:
        """Affine maps of the plane (n, 3, 3): the user's, then w's translation, then w's rotation."""
        t = self.affine(w)
        t = t / t[:, :2].norm(dim=1, keepdim=True)
        cos, sin, x, y = t.unbind(dim=1)
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        rotation = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).view(-1, 3, 3)
        translation = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1).view(-1, 3, 3)
        return rotation @ translation @ self.transform

    def forward(self, w: Tensor) -> Tensor:
        band = self.band
        transforms = self.transforms(w)
        phases = self.phases + (self.freqs @ transforms[:, :2, 2:]).squeeze(2)
        freqs = self.freqs @ transforms[:, :2, :2]
        # a transform that magnifies may push a frequency past what the grid can carry: fade it out before
        amplitudes = 1 - (freqs.norm(dim=2) - band.cutoff) / (band.sampling_rate / 2 - band.cutoff)
        axis = (torch.arange(band.size, device=w.device) + 0.5 - band.size / 2) / band.sampling_rate
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
        angles = torch.einsum("hwd,ncd->nhwc", grid, freqs) + phases[:, None, None, :]
        waves: Tensor = torch.sin(2 * math.pi * angles) * amplitudes.clamp(0, 1)[:, None, None, :]
        return (waves @ (self.weight / math.sqrt(band.channels)).T).permute(0, 3, 1, 2)


class AliasFreeLayer(nn.Module):
    """Modulated convolution, then bias and leaky ReLU on a finer grid between two low-pass filters (paper, figure 4b).

    x (n, source.channels, source.size, source.size)  ->  (n, target.channels, target.size, target.size). The layer to
    RGB only convolves.
    """

    up_filter: Tensor | None
    down_filter: Tensor | None
    magnitude_ema: Tensor

    def __init__(self, config: StyleGAN3Config, plan: LayerPlan) -> None:
        super().__init__()
        source, target = plan.source, plan.target
        self.is_rgb = plan.is_rgb
        self.conv_clamp = config.conv_clamp
        self.kernel_size = plan.kernel
        self.affine = Dense(config.w_dim, source.channels, bias_init=1.0)
        shape = (target.channels, source.channels, self.kernel_size, self.kernel_size)
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(target.channels))
        self.register_buffer("magnitude_ema", torch.ones(()))  # running mean square of the input

        rate = max(source.sampling_rate, target.sampling_rate) * (1 if plan.is_rgb else config.lrelu_upsampling)
        self.up_factor, self.down_factor = rate // source.sampling_rate, rate // target.sampling_rate
        up_taps, down_taps = (
            1 if factor == 1 or plan.is_rgb else factor * config.filter_size
            for factor in (self.up_factor, self.down_factor)
        )
        self.register_buffer("up_filter", self._filter(up_taps, source, rate, radial=False))
        self.register_buffer("down_filter", self._filter(down_taps, target, rate, radial=plan.is_radial))

        # what the grid lacks so that both filters' valid parts leave exactly target.size pixels
        total = (target.size - 1) * self.down_factor + 1 + up_taps + down_taps - 2
        total -= (source.size + self.kernel_size - 1) * self.up_factor
        before = (total + self.up_factor) // 2  # centres the pixels
        self.padding = (before, total - before)
        finest = (target.size - 1) * self.down_factor + down_taps
        self.map_bytes = 4 * target.channels * finest**2  # of one image's feature map between the filters, in float32

    @staticmethod
    def _filter(taps: int, band: Band, rate: int, *, radial: bool) -> Tensor | None:
        return None if taps == 1 else lowpass_filter(taps, band.cutoff, 2 * band.half_width, rate, radial=radial)

    def convolve(self, x: Tensor, style: Tensor) -> Tensor:
        """The modulated convolution and its bias; for all but RGB, outputs have unit variance before the bias."""
        weight: Tensor = self.weight
        gain = self.magnitude_ema.rsqrt()
        if self.is_rgb:
            style = style / math.sqrt(weight[0].numel())
            scale = gain.expand(len(x), weight.shape[0])
        else:
            weight = weight * weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
            style = normalise(style)
            scale = (style.square() @ weight.square().sum(dim=(2, 3)).T + 1e-8).rsqrt() * gain
        return scaled_convolution(x, weight, style, scale, self.bias, padding=self.kernel_size - 1)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = self.convolve(x, self.affine(w))
        # a positive gain commutes with a leaky ReLU, and inside the filter it costs nothing
        x = upsample(x, self.up_filter, self.up_factor, self.padding, gain=1.0 if self.is_rgb else ACTIVATION_GAIN)
        if not self.is_rgb:
            x = F.leaky_relu(x, LEAKY_SLOPE, inplace=not x.requires_grad)
        if self.conv_clamp is not None:
            x = bounded(x, self.conv_clamp)
        return downsample(x, self.down_filter, self.down_factor)


class SynthesisNetwork(nn.Module):
    """ws (n, 1 + layers, w_dim), the first for the input  ->  images (n, 3, resolution, resolution), about [-1, 1]."""

    def __init__(self, config: StyleGAN3Config) -> None:
        super().__init__()
        plans = config.layers or layer_plans(config)
        self.output_scale = config.output_scale
        self.input = FourierInput(config.w_dim, plans[0].source)
        self.layer_names = [plan.name for plan in plans]
        for plan in plans:
            self.add_module(plan.name, AliasFreeLayer(config, plan))
        self.num_ws = 1 + len(plans)
        self.map_bytes = max(layer.map_bytes for layer in self.children() if isinstance(layer, AliasFreeLayer))

    def forward(self, ws: Tensor, cache: int | None = None) -> Tensor:
        """`cache` is a number of bytes: so many images are drawn at a time that their feature maps fit; None: all."""
        at_once = len(ws) if cache is None else max(1, cache // self.map_bytes)
        if len(ws) > at_once:
            return torch.cat([self(part) for part in ws.split(at_once)])
        first, *rest = ws.unbind(dim=1)
        x: Tensor = self.input(first)
        for name, w in zip(self.layer_names, rest, strict=True):
            x = self.get_submodule(name)(x, w)
        return x * self.output_scale


class StyleGAN3(StyleBasedGenerator):
    """StyleGAN3's mapping and synthesis network."""

    synthesis: SynthesisNetwork

    def __init__(self, config: StyleGAN3Config) -> None:
        super().__init__(MappingNetwork(config), SynthesisNetwork(config))
        self.config = config
