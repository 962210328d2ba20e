"""StyleGAN-XL: StyleGAN3 for many classes, grown in stages: a stem, then super-resolution heads.

Written from Sauer et al., "StyleGAN-XL: Scaling StyleGAN to Large Diverse Datasets" (SIGGRAPH 2022, arXiv 2202.00273).
Classes enter through an embedding of an image classifier's features, and truncation pulls towards the class's own mean.
Module and parameter names are those of the official state dictionaries, so that released weights fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ktl.generators.networks.bounds import Classes, Layers, Resolution, UpFactor, Width
from ktl.generators.networks.mapping import Dense, MappingNetwork, add_dense_layers, normalise
from ktl.generators.networks.style_based import StyleBasedGenerator
from ktl.generators.networks.stylegan3 import SynthesisNetwork
from ktl.generators.networks.stylegan3_layers import StyleGAN3Config, layer_plans


@dataclass(frozen=True)
class Head:
    """A super-resolution stage: its number of layers, without the one to RGB, and by what it multiplies the side."""

    layers: Layers = 7
    up_factor: UpFactor = 2


@dataclass(frozen=True)
class StyleGANXLConfig(StyleGAN3Config):
    """Sizes of a StyleGAN-XL: a StyleGAN3 with c_dim classes, each embedded in `embed_dim` numbers."""

    z_dim: Width = 64
    c_dim: Classes = 1000
    resolution: Resolution = 16
    embed_dim: Width = 320


class ClassMapping(nn.Module):
    """z (n, z_dim) ~ N(0, I), one-hot labels (n, c_dim)  ->  w (n, w_dim). `w_avg` is each class's mean of w."""

    w_avg: Tensor

    def __init__(self, config: StyleGANXLConfig) -> None:
        super().__init__()
        self.layers = config.mapping_layers
        self.embed = nn.Embedding(config.c_dim, config.embed_dim)
        self.embed_proj = Dense(config.embed_dim, config.z_dim, activate=True)
        add_dense_layers(self, config, 2 * config.z_dim)
        self.register_buffer("w_avg", torch.zeros(config.c_dim, config.w_dim))

    def forward(self, z: Tensor, truncation: float = 1.0, labels: Tensor | None = None) -> Tensor:
        if labels is None:
            raise ValueError(f"a generator of {self.embed.num_embeddings} classes needs one-hot labels beside z")
        classes = labels.argmax(dim=1)
        w = torch.cat([normalise(z), normalise(self.embed_proj(self.embed(classes)))], dim=1)
        for i in range(self.layers):
            w = self.get_submodule(f"fc{i}")(w)
        return w if truncation == 1.0 else self.w_avg[classes].lerp(w, truncation)


def grown(stem: StyleGANXLConfig, heads: Sequence[Head]) -> StyleGANXLConfig:
    """The network that stages on top of `stem` make, its layers listed.

    In each stage the critically sampled layers give way to the head's (paper, section 3.2). A head's bands start with
    the last one that stays: its first layer works at that size, its second one enlarges.
    """
    plans = list(stem.layers) or layer_plans(stem)
    resolution = stem.resolution
    for head in heads:
        resolution *= head.up_factor
        kept = [plan for plan in plans if not plan.is_critical]
        last = kept[-1].target
        stage = replace(
            stem,
            resolution=resolution,
            num_layers=head.layers,
            first_cutoff=last.cutoff,
            first_stopband=last.stopband,
        )
        plans = kept + layer_plans(stage, first=last, first_index=len(kept) + 1)  # official names skip a number
    return replace(stem, resolution=resolution, layers=tuple(plans))


class StyleGANXL(StyleBasedGenerator):
    """StyleGAN3's synthesis network behind a mapping network for classes; without classes (c_dim = 0), StyleGAN3's."""

    synthesis: SynthesisNetwork

    def __init__(self, config: StyleGANXLConfig) -> None:
        mapping = ClassMapping(config) if config.c_dim > 0 else MappingNetwork(config)
        super().__init__(mapping, SynthesisNetwork(config))
        self.config = config
