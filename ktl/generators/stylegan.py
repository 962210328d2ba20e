"""A StyleGAN2 in a safetensors file as an `ImageGenerator`: how it is saved, loaded and run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ktl.checkpoint import write_atomically
from ktl.errors import CheckpointError
from ktl.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.seeds import initialising

FORMAT = "ktl-stylegan2-1"
BATCH = 64  # images at a time: enough to keep two cores busy, small enough for a cache


class StyleGAN2Generator:
    """Implements `ktl.generators.base.ImageGenerator`; one w is repeated for all layers, as the method does."""

    family = "StyleGAN2"

    def __init__(self, network: StyleGAN2, *, name: str, licence: str, fingerprint: str) -> None:
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.name = name
        self.licence = licence
        self.fingerprint = fingerprint
        self.noise_dim = network.config.z_dim
        self.latent_dim = network.config.w_dim
        self.image_size = network.config.resolution
        self.parameters = sum(parameter.numel() for parameter in network.parameters())

    def latents(self, noise: Tensor) -> Tensor:
        """noise z (n, z_dim) -> w (n, w_dim), truncation 1."""
        w: Tensor = self.network.mapping(noise)
        return w

    def images(self, latents: Tensor) -> Tensor:
        """w (n, w_dim) -> uint8 (n, 3, resolution, resolution)."""
        batches = [self.network.synthesis(self.network.broadcast(part)) for part in latents.split(BATCH)]
        return ((torch.cat(batches) + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def save_stylegan2(path: Path, network: StyleGAN2, *, licence: str, exact: bool = False) -> None:
    """Writes the weights with their configuration; `load_stylegan2` reads them back.

    They are written in float16; if `exact`, those that float16 would change stay float32.
    """
    tensors = {name: _stored(tensor, exact) for name, tensor in network.state_dict().items()}
    about = {"format": FORMAT, "config": asdict(network.config), "licence": licence}
    # one metadata entry: safetensors writes several in no fixed order, and equal weights should be equal files
    write_atomically(path, save(tensors, metadata={"ktl": json.dumps(about)}))


def _stored(tensor: Tensor, exact: bool) -> Tensor:
    half = tensor.to(torch.float16)
    kept = tensor if exact and not torch.equal(half.to(tensor.dtype), tensor) else half
    return kept.contiguous()


def load_stylegan2(path: Path, name: str) -> StyleGAN2Generator:
    """Reads a file of `save_stylegan2`. Raises CheckpointError if it is missing, damaged or of another kind."""
    if not path.is_file():
        raise CheckpointError(f"there is no generator file {path}; give 'builtin' or a .safetensors that ktl wrote")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("ktl", "{}"))
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 - not a dict
        if about.get("format") != FORMAT:
            raise ValueError(f"its format is {about.get('format')!r}, expected {FORMAT!r}")
        with initialising(0, "replaced below"):  # not torch's meta device: its first use imports 150 MB
            network = StyleGAN2(StyleGAN2Config(**about["config"]))
        network.load_state_dict(tensors, assign=True)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} is no generator that ktl can read: {reason}; convert or train it anew"
        ) from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return StyleGAN2Generator(network, name=name, licence=about["licence"], fingerprint=digest)
