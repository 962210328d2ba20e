from __future__ import annotations

import numpy as np
import pytest
import torch
from support.official_files import golden_arrays, golden_copy, golden_network

from ktl.generators.networks.stylegan_xl import Head, StyleGANXL, StyleGANXLConfig, grown
from ktl.seeds import initialising, stream

NAMES = ["stylegan-xl-stem-16", "stylegan-xl-superres-32"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("truncation", [1, 0.7])
@torch.no_grad()
def test_latents_and_images_are_the_official_ones(name: str, truncation: float) -> None:
    golden, network = golden_arrays(name), golden_copy(name)
    z, labels = torch.from_numpy(golden["z"]), torch.from_numpy(golden["c"])
    ws = network.broadcast(network.mapping(z, truncation, labels))
    assert np.abs(ws.numpy() - golden[f"ws_psi{truncation}"]).max() < 1e-5
    images = network(z, truncation, labels)
    assert images.shape[-1] == network.config.resolution
    assert np.abs(images.numpy() - golden[f"img_psi{truncation}"]).max() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_filters_are_designed_as_the_official_ones(name: str) -> None:
    _, state = golden_network(name)
    designed = StyleGANXL(golden_copy(name).config).state_dict()
    official = {key: value for key, value in state.items() if key.endswith("_filter")}
    assert len(official) in (12, 16)
    for key, value in official.items():
        torch.testing.assert_close(designed[key], value, atol=1e-7, rtol=0)


def test_growing_in_several_stages_names_the_layers_of_the_released_faces() -> None:
    # the names with sizes are public; that they came from this stem and these heads is inferred from them
    stem = StyleGANXLConfig(resolution=32, num_layers=10, channel_base=65536, channel_max=1024)
    config = grown(grown(stem, [Head(4, 2), Head(4, 2)]), [Head(4, 2)])
    assert config == grown(stem, [Head(4, 2)] * 3)
    assert config.resolution == 256
    names = [plan.name for plan in config.layers]
    assert len(names) == 17
    assert {"L3_36_1024", "L9_52_1024", "L11_84_1024", "L13_148_919", "L15_276_256", "L16_256_256"} <= set(names)
    assert names[-1] == "L17_256_3"


@torch.no_grad()
def test_labels_are_required_and_choose_the_mean_that_truncation_pulls_to() -> None:
    network = golden_copy(NAMES[0])
    z, labels = torch.zeros(7, 16), torch.eye(7)
    torch.testing.assert_close(network.mapping(z, 0.0, labels), network.mapping.w_avg)
    with pytest.raises(ValueError, match="7 classes needs one-hot labels"):
        network(z)


@torch.no_grad()
def test_without_classes_there_is_one_mean_and_no_label() -> None:
    stem = StyleGANXLConfig(z_dim=8, c_dim=0, w_dim=8, channel_max=4, num_layers=4, margin_size=2)
    with initialising(0, "test"):
        network = StyleGANXL(grown(stem, [Head(4, 2)])).eval()
    assert network(torch.randn(2, 8, generator=stream(0, "z"))).shape == (2, 3, 32, 32)
    assert network.mapping.w_avg.shape == (8,)
