from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from support.official_files import golden_arrays, golden_copy, golden_network

from ktl.generators.networks.filters import downsample, lowpass_filter, upsample
from ktl.generators.networks.stylegan3 import StyleGAN3
from ktl.generators.networks.stylegan3_layers import LayerPlan, StyleGAN3Config, layer_plans
from ktl.seeds import initialising, stream

NAMES = ["stylegan3-t-32", "stylegan3-r-32"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("truncation", [1, 0.7])
@torch.no_grad()
def test_latents_and_images_are_the_official_ones(name: str, truncation: float) -> None:
    golden, network = golden_arrays(name), golden_copy(name)
    ws = network.broadcast(network.mapping(torch.from_numpy(golden["z"]), truncation))
    assert np.abs(ws.numpy() - golden[f"ws_psi{truncation}"]).max() < 1e-5
    assert np.abs(network.synthesis(ws).numpy() - golden[f"img_psi{truncation}"]).max() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_filters_are_designed_as_the_official_ones(name: str) -> None:
    _, state = golden_network(name)
    designed = StyleGAN3(golden_copy(name).config).state_dict()
    official = {key: value for key, value in state.items() if key.endswith("_filter")}
    assert len(official) == 12
    for key, value in official.items():
        torch.testing.assert_close(designed[key], value, atol=1e-7, rtol=0)


def names(config: StyleGAN3Config) -> list[str]:
    return [plan.name for plan in layer_plans(config)]


def test_layers_are_named_as_the_official_code_names_them() -> None:
    sizes = [36, 36, 36, 52, 52, 84, 84, 148, 148, 148, 276, 276, 276, 256, 256]
    channels = [512] * 9 + [362, 256, 181, 128, 128, 3]
    expected = [f"L{i}_{size}_{count}" for i, (size, count) in enumerate(zip(sizes, channels, strict=True))]
    assert names(StyleGAN3Config(resolution=256)) == expected
    rotating = StyleGAN3Config(
        resolution=128, channel_base=65536, channel_max=1024, conv_kernel=1, use_radial_filters=True
    )
    end = ["L8_84_1024", "L9_148_1024", "L10_148_912", "L11_148_683", "L12_148_512", "L13_128_512", "L14_128_3"]
    assert names(rotating)[8:] == end
    assert names(StyleGAN3Config(resolution=1024))[7:12] == [
        "L7_276_323",
        "L8_276_203",
        "L9_532_128",
        "L10_1044_81",
        "L11_1044_51",
    ]


def test_only_layers_below_the_full_band_have_radial_filters() -> None:
    network = golden_copy("stylegan3-r-32")
    shapes = [tuple(buffer.shape) for name, buffer in network.synthesis.named_buffers() if name.endswith("down_filter")]
    assert shapes == [(12, 12)] * 4 + [(12,)] * 2


def test_a_layer_is_planned_alike_from_an_official_object() -> None:
    plan = layer_plans(StyleGAN3Config(resolution=64))[5]
    sides = (("in", plan.source), ("out", plan.target))
    attributes: dict[str, Any] = {
        f"{side}_{field.name}": getattr(band, field.name) for side, band in sides for field in fields(band)
    }
    attributes |= {"in_size": np.full(2, plan.source.size), "is_torgb": False, "padding": [3, 2, 3, 2]}
    attributes |= {"is_critically_sampled": False, "conv_kernel": 3, "down_radial": False}
    assert LayerPlan.from_attributes(plan.name, attributes) == plan
    del attributes["in_cutoff"]
    with pytest.raises(KeyError, match="in_cutoff"):
        LayerPlan.from_attributes(plan.name, attributes)


@torch.no_grad()
def test_moving_the_input_moves_the_image() -> None:
    golden, network = golden_arrays("stylegan3-t-32"), golden_copy("stylegan3-t-32")
    z = torch.from_numpy(golden["z"])
    image = network(z)
    network.synthesis.input.transform[0, 2] = -4 / 32  # of the image's width, to the right
    moved = network(z)
    error = (moved[..., 10:-6] - image[..., 6:-10]).square().mean()
    assert error < 0.01 * (moved - image).square().mean()


@torch.no_grad()
def test_a_conditional_network_draws_its_classes_differently() -> None:
    config = StyleGAN3Config(
        z_dim=8, c_dim=3, w_dim=8, resolution=16, channel_max=4, num_layers=4, margin_size=2, mapping_layers=1
    )
    with initialising(0, "test"):
        network = StyleGAN3(config).eval()
    z = torch.randn(1, 8, generator=stream(0, "z")).expand(3, -1)
    images = network(z, 1.0, torch.eye(3))
    assert images.shape == (3, 3, 16, 16)
    assert (images[0] - images[1]).abs().max() > 1e-3


@pytest.mark.parametrize("radial", [False, True])
def test_a_lowpass_filter_keeps_the_mean_and_stops_what_is_above_its_band(radial: bool) -> None:
    kernel = lowpass_filter(24, cutoff=4.0, width=4.0, sampling_rate=32.0, radial=radial)
    line = kernel.sum(dim=0) if radial else kernel
    time = torch.arange(24) / 32.0

    def gain(frequency: float) -> float:
        return float((line * torch.exp(2j * torch.pi * frequency * time)).sum().abs())

    assert gain(0.0) == pytest.approx(1.0, abs=1e-6)
    assert gain(2.0) == pytest.approx(1.0, abs=0.03)
    assert max(gain(f) for f in (7.0, 9.0, 12.0)) < 0.03


@torch.no_grad()
def test_resampling_up_and_down_again_gives_a_smooth_signal_back() -> None:
    x = torch.sin(2 * torch.pi * 2 * torch.arange(32) / 32).expand(1, 2, 32, 32)
    up = lowpass_filter(24, cutoff=12.0, width=8.0, sampling_rate=64.0)
    fine = upsample(x, up, 2, (23, 22))
    assert fine.shape == (1, 2, 86, 86)
    back = downsample(fine, up, 2)
    torch.testing.assert_close(back[..., 12:-12, 12:-12], x[..., 12:-12, 12:-12], atol=0.02, rtol=0)
