"""Which layers a StyleGAN3 has: its sizes, and the bands of frequencies that each layer takes and gives.

Written from Karras et al., "Alias-Free Generative Adversarial Networks" (NeurIPS 2021, arXiv 2106.12423), section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from ktl.generators.networks.bounds import (
    MAX_LAYERS,
    ChannelBase,
    Classes,
    CriticalLayers,
    Kernel,
    LayerIndex,
    Layers,
    MapSize,
    Margin,
    Number,
    Resolution,
    Taps,
    Upsampling,
    Width,
)

RGB = 3


@dataclass(frozen=True)
class Band:
    """How a feature map, a little wider than the image, is sampled. Frequencies are in cycles per image width."""

    channels: Width
    size: MapSize  # pixels, margins included
    sampling_rate: MapSize
    cutoff: Number
    half_width: Number  # of the transition band above the cutoff

    @property
    def stopband(self) -> float:
        """The frequency from which on nothing passes."""
        return self.cutoff + self.half_width


@dataclass(frozen=True)
class LayerPlan:
    """One synthesis layer: the band of its input, the band of its output, and how it gets from one to the other."""

    index: LayerIndex
    source: Band
    target: Band
    is_critical: bool  # lets the full band of its sampling rate through
    is_rgb: bool
    kernel: Kernel  # of the convolution, in each direction
    is_radial: bool  # the second low-pass filter is symmetric about the centre, not about the axes

    @property
    def name(self) -> str:
        """The layer's name in official state dictionaries."""
        return f"L{self.index}_{self.target.size}_{self.target.channels}"

    @classmethod
    def from_attributes(cls, name: str, attributes: Mapping[str, Any]) -> LayerPlan:
        """The plan of an official layer object as its attributes say, so that it fits every released network.

        `name` is the layer's. Raises KeyError for a missing attribute and ValueError for one of the wrong kind.
        """
        values = {key: np.ravel(value)[0] for key, value in attributes.items() if np.size(value)}  # sizes are pairs
        source, target = (
            Band(
                channels=int(values[f"{side}_channels"]),
                size=int(values[f"{side}_size"]),
                sampling_rate=int(values[f"{side}_sampling_rate"]),
                cutoff=float(values[f"{side}_cutoff"]),
                half_width=float(values[f"{side}_half_width"]),
            )
            for side in ("in", "out")
        )
        index = int(name.removeprefix("L").split("_")[0])
        return cls(
            index,
            source,
            target,
            is_critical=bool(values["is_critically_sampled"]),
            is_rgb=bool(values["is_torgb"]),
            kernel=int(values["conv_kernel"]),
            is_radial=bool(values["down_radial"]),
        )


@dataclass(frozen=True)
class StyleGAN3Config:
    """Sizes of a StyleGAN3; the layers' bands follow from them (paper, section 3.2). Defaults are the official ones."""

    z_dim: Width = 512
    c_dim: Classes = 0
    w_dim: Width = 512
    resolution: Resolution = 256
    channel_base: ChannelBase = 32768  # a layer of cutoff f has min(channel_base / 2 f, channel_max) channels
    channel_max: Width = 512
    mapping_layers: Layers = 2
    mapping_lr_multiplier: Number = 0.01
    num_layers: Layers = 14  # without the one to RGB
    num_critical: CriticalLayers = 2  # of these, how many at the end let the full band of the image through
    first_cutoff: Number = 2.0
    first_stopband: Number = 2.0**2.1
    last_stopband_rel: Number = 2.0**0.3  # the last stopband, relative to the last cutoff
    margin_size: Margin = 10  # pixels beyond each edge, so that layers cannot tell positions from the edge
    output_scale: Number = 0.25
    conv_kernel: Kernel = 3
    filter_size: Taps = 6  # coefficients per sample of the coarser grid
    lrelu_upsampling: Upsampling = 2
    use_radial_filters: bool = False
    conv_clamp: Number | None = 256.0
    layers: Annotated[
        tuple[LayerPlan, ...], Meta(max_length=MAX_LAYERS)
    ] = ()  # where they do not follow from the sizes above, or a file lists them


def bands(config: StyleGAN3Config) -> list[Band]:
    """The num_layers + 1 bands of the layers' outputs: cutoffs and stopbands rise geometrically (paper, equation 3)."""
    last_cutoff = config.resolution / 2
    last_stopband = last_cutoff * config.last_stopband_rel
    steps = np.arange(config.num_layers + 1)
    exponents = np.minimum(steps / (config.num_layers - config.num_critical), 1)
    cutoffs = config.first_cutoff * (last_cutoff / config.first_cutoff) ** exponents
    stopbands = config.first_stopband * (last_stopband / config.first_stopband) ** exponents
    rates = np.exp2(np.ceil(np.log2(np.minimum(stopbands * 2, config.resolution))))
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    sizes = rates + 2 * config.margin_size
    sizes[-2:] = config.resolution
    channels = np.rint(np.minimum(config.channel_base / 2 / cutoffs, config.channel_max))
    channels[-1] = RGB
    columns = zip(channels, sizes, rates, cutoffs, half_widths, strict=True)
    return [Band(int(c), int(s), int(r), float(f), float(h)) for c, s, r, f, h in columns]


def layer_plans(config: StyleGAN3Config, first: Band | None = None, first_index: int = 0) -> list[LayerPlan]:
    """The layers of `config`, the last one to RGB; a `first` band replaces the computed one."""
    targets = bands(config)
    targets[0] = first or targets[0]
    sources = [targets[0], *targets[:-1]]
    plans = []
    for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
        is_critical, is_rgb = i >= config.num_layers - config.num_critical, i == config.num_layers
        kernel = 1 if is_rgb else config.conv_kernel
        is_radial = config.use_radial_filters and not is_critical
        plans.append(LayerPlan(first_index + i, source, target, is_critical, is_rgb, kernel, is_radial))
    return plans
