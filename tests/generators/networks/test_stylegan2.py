from __future__ import annotations

import numpy as np
import pytest
import torch
from support.official_files import golden_arrays, golden_copy

from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config, SynthesisLayer
from ktl.seeds import initialising, stream


@pytest.fixture(scope="module")
def network() -> StyleGAN2:
    copy: StyleGAN2 = golden_copy("stylegan2-32")
    return copy


@pytest.mark.parametrize("truncation", [1, 0.7])
@pytest.mark.parametrize("name", ["stylegan2-32", "stylegan2-16-conditional"])
@torch.no_grad()
def test_latents_and_images_are_the_official_ones(name: str, truncation: float) -> None:
    golden, network = golden_arrays(name), golden_copy(name)
    labels = torch.from_numpy(golden["c"]) if "c" in golden else None
    ws = network.broadcast(network.mapping(torch.from_numpy(golden["z"]), truncation, labels))
    assert np.abs(ws.numpy() - golden[f"ws_psi{truncation}"]).max() < 1e-5
    assert np.abs(network.synthesis(ws).numpy() - golden[f"img_psi{truncation}"]).max() < 1e-4


def test_a_conditional_network_asks_for_labels() -> None:
    network = golden_copy("stylegan2-16-conditional")
    with pytest.raises(ValueError, match="5 classes needs one-hot labels"):
        network(torch.zeros(1, 32))


@torch.no_grad()
def test_bounded_activations_bound_the_image() -> None:
    with initialising(0, "test"):
        network = StyleGAN2(StyleGAN2Config(resolution=4, channel_base=32, channel_max=8, conv_clamp=1e-3))
    assert network(torch.randn(2, 128, generator=stream(0, "z"))).abs().max() <= 1e-3


@torch.no_grad()
def test_only_the_skip_architecture_draws_at_every_resolution() -> None:
    z = torch.randn(2, 128, generator=stream(0, "z"))
    for architecture in ("orig", "resnet", "skip"):
        with initialising(0, "test"):
            network = StyleGAN2(
                StyleGAN2Config(resolution=8, channel_base=32, channel_max=8, architecture=architecture)
            )
        names = set(network.state_dict())
        assert ("synthesis.b4.torgb.weight" in names) == (architecture == "skip")
        assert ("synthesis.b8.skip.weight" in names) == (architecture == "resnet")
        assert network.synthesis.num_ws == 4
        assert network(z).shape == (2, 3, 8, 8)


@torch.no_grad()
def test_the_residual_shortcut_alone_is_an_upsampled_projection() -> None:
    with initialising(0, "test"):
        network = StyleGAN2(StyleGAN2Config(resolution=8, channel_base=32, channel_max=4, architecture="resnet"))
    shortcut = network.get_submodule("synthesis.b8.skip")
    flat = torch.ones(1, 4, 4, 4)
    expected = network.state_dict()["synthesis.b8.skip.weight"].sum(dim=(1, 2, 3)) / 2.0  # 1 / sqrt(4 channels)
    torch.testing.assert_close(shortcut(flat)[0, :, 4, 4], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_channels_last_draws_the_same_images(network: StyleGAN2) -> None:
    z = torch.from_numpy(golden_arrays("stylegan2-32")["z"])
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


@pytest.mark.parametrize("architecture", ["orig", "resnet", "skip"])
def test_images_drawn_in_parts_or_with_gradients_are_those_drawn_at_once(architecture: str) -> None:
    """A small cache takes the ways that training does not: one image alone, its weights modulated in its stead."""
    with initialising(0, "test"):
        network = StyleGAN2(
            StyleGAN2Config(channel_base=64, channel_max=4, conv_clamp=256.0, architecture=architecture)
        )
        for layer in network.modules():
            if isinstance(layer, SynthesisLayer):
                torch.nn.init.normal_(layer.bias)
                torch.nn.init.constant_(layer.noise_strength, 0.3)
    ws = network.broadcast(torch.randn(5, 128, generator=stream(0, "w")))
    expected = network.synthesis(ws)
    assert expected.requires_grad
    with torch.no_grad():
        for cache in (None, 4 * 4 * 16**2, 2 * 4 * 4 * 16**2, 1):
            torch.testing.assert_close(network.synthesis(ws, cache), expected, atol=1e-5, rtol=1e-5)
