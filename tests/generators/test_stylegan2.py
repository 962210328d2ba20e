from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ktl.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.seeds import initialising, stream

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "stylegan2-32.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def network(golden: dict[str, np.ndarray]) -> StyleGAN2:
    official = json.loads(golden["meta_json"].tobytes())["config"]
    config = StyleGAN2Config(
        z_dim=official["z_dim"],
        w_dim=official["w_dim"],
        resolution=official["img_resolution"],
        channel_base=official["channel_base"],
        channel_max=official["channel_max"],
        mapping_layers=official["mapping_kwargs"]["num_layers"],
        mapping_lr_multiplier=0.01,
    )
    network = StyleGAN2(config).eval()
    state = {
        name.removeprefix("state/"): torch.from_numpy(v) for name, v in golden.items() if name.startswith("state/")
    }
    network.load_state_dict(state)
    return network


@pytest.mark.parametrize("truncation", [1, 0.7])
@torch.no_grad()
def test_latents_and_images_are_the_official_ones(
    network: StyleGAN2, golden: dict[str, np.ndarray], truncation: float
) -> None:
    ws = network.broadcast(network.mapping(torch.from_numpy(golden["z"]), truncation))
    assert np.abs(ws.numpy() - golden[f"ws_psi{truncation}"]).max() < 1e-5
    assert np.abs(network.synthesis(ws).numpy() - golden[f"img_psi{truncation}"]).max() < 1e-4


@torch.no_grad()
def test_channels_last_draws_the_same_images(network: StyleGAN2, golden: dict[str, np.ndarray]) -> None:
    z = torch.from_numpy(golden["z"])
    expected = network(z)
    torch.testing.assert_close(network.to(memory_format=torch.channels_last)(z), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_noise_is_normalised_so_only_its_direction_matters(network: StyleGAN2) -> None:
    z = torch.randn(4, 32, generator=stream(0, "z"))
    torch.testing.assert_close(network.mapping(3.0 * z), network.mapping(z), atol=1e-4, rtol=1e-4)


def test_the_built_in_size_is_under_a_million_parameters() -> None:
    with initialising(0, "test"):
        network = StyleGAN2(StyleGAN2Config())
    assert [network.config.channels(r) for r in network.config.resolutions] == [128, 96, 48, 24]
    assert 500_000 < sum(p.numel() for p in network.parameters()) < 1_000_000
