"""A generator and a data set so small that a round takes milliseconds: for benchmarks of the service alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ktl.generators.network import save_network
from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.seeds import initialising


def save_tiny_generator(path: Path) -> Path:
    """A StyleGAN2 of 16 x 16 pixels with 16 latents and random weights."""
    return save_random_generator(path, StyleGAN2Config(z_dim=16, w_dim=16, resolution=16, channel_max=16))


def save_random_generator(path: Path, config: StyleGAN2Config) -> Path:
    """A StyleGAN2 of that size with random weights."""
    with initialising(0, "tiny generator"):
        network = StyleGAN2(config)
    save_network(path, network, licence="CC0-1.0")
    return path


def save_tiny_bundle(path: Path) -> Path:
    """3 classes of coloured noise, 16 x 16 RGB, 10 train and 20 test images each."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"class_names": np.array(["blue", "green", "red"])}
    for split, count in (("train", 10), ("test", 20)):
        labels = np.repeat(np.arange(3), count)
        pixels = rng.normal(120, 40, (len(labels), 16, 16, 3))
        pixels[np.arange(len(labels)), :, :, 2 - labels] += 30
        arrays |= {f"x_{split}": pixels.clip(0, 255).astype(np.uint8), f"y_{split}": labels}
    np.savez_compressed(path, **arrays)
    return path
