"""A small network of every family of generators, with random weights."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from ktl.generators.base import ImageGenerator, sample_latents
from ktl.generators.network import Network
from ktl.generators.networks.latent_flow import LatentFlow, LatentFlowConfig
from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.generators.networks.stylegan3 import StyleGAN3
from ktl.generators.networks.stylegan3_layers import StyleGAN3Config
from ktl.generators.networks.stylegan_xl import Head, StyleGANXL, StyleGANXLConfig, grown
from ktl.seeds import initialising, stream

STEM = StyleGAN3Config(
    z_dim=8, c_dim=3, w_dim=8, resolution=16, channel_max=4, num_layers=4, margin_size=2, mapping_layers=1
)
XL_STEM = StyleGANXLConfig(**asdict(STEM) | {"layers": ()}, embed_dim=5)
STYLEGAN2 = StyleGAN2Config(8, 8, 16, channel_base=64, channel_max=4)
NETWORKS: dict[str, tuple[type[Network], Any]] = {
    "StyleGAN2": (StyleGAN2, STYLEGAN2),
    "StyleGAN2 of classes": (StyleGAN2, replace(STYLEGAN2, c_dim=3, architecture="resnet", conv_clamp=256.0)),
    "LatentFlow": (LatentFlow, LatentFlowConfig(8, 16, channels=(8, 8, 4), flow_width=8, flow_layers=2)),
    "StyleGAN3": (StyleGAN3, replace(STEM, c_dim=0)),
    "StyleGAN3 of classes": (StyleGAN3, STEM),
    "StyleGAN-XL": (StyleGANXL, XL_STEM),
    "StyleGAN-XL with heads": (StyleGANXL, grown(XL_STEM, [Head(3, 2), Head(layers=4)])),
    "StyleGAN-XL without classes": (StyleGANXL, replace(XL_STEM, c_dim=0)),
}


def made(name: str) -> Network:
    kind, config = NETWORKS[name]
    with initialising(0, "test"):
        return kind(config)


def drawn(generator: ImageGenerator, count: int = 3) -> Tensor:
    return generator.images(sample_latents(generator, count, stream(0, "test")))
