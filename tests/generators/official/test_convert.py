"""Networks out of official files: those that are converted draw the same images, others are refused."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.families import STYLEGAN2, XL_STEM, drawn
from support.official_files import OfficialWriter, golden_network

from ktl.errors import CheckpointError
from ktl.generators import load_generator
from ktl.generators.network import Network, NetworkGenerator
from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.generators.networks.stylegan3 import StyleGAN3
from ktl.generators.networks.stylegan3_layers import StyleGAN3Config
from ktl.generators.networks.stylegan_xl import Head, StyleGANXL, StyleGANXLConfig, grown
from ktl.generators.official.convert import convert_official
from ktl.seeds import initialising

XL_GOLDEN = StyleGANXLConfig(16, 7, 32, 16, channel_base=512, channel_max=12, num_layers=6, margin_size=4, embed_dim=24)
GOLDEN: dict[str, Network] = {
    "stylegan3-t-32": StyleGAN3(
        StyleGAN3Config(32, 0, 32, 32, channel_base=512, channel_max=12, num_layers=6, margin_size=4)
    ),
    "stylegan3-r-32": StyleGAN3(
        StyleGAN3Config(
            32,
            0,
            32,
            32,
            channel_base=512,
            channel_max=12,
            num_layers=6,
            margin_size=4,
            conv_kernel=1,
            use_radial_filters=True,
        )
    ),
    "stylegan-xl-stem-16": StyleGANXL(XL_GOLDEN),
    "stylegan-xl-superres-32": StyleGANXL(grown(XL_GOLDEN, [Head(4, 2)])),
    "stylegan2-16-conditional": StyleGAN2(
        StyleGAN2Config(
            32,
            48,
            16,
            channel_base=256,
            channel_max=16,
            mapping_layers=4,
            mapping_lr_multiplier=0.01,
            c_dim=5,
            conv_clamp=256.0,
        )
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_converted_network_draws_the_same_images_to_the_bit(
    name: str, writer: OfficialWriter, tmp_path: Path
) -> None:
    config, state = golden_network(name)
    path = writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(config, state)})
    convert_official(path, tmp_path / "converted.safetensors", licence="CC0-1.0")
    assert not (tmp_path / "canary").exists()
    loaded = load_generator(str(tmp_path / "converted.safetensors"))
    assert isinstance(loaded, NetworkGenerator)
    network = GOLDEN[name]
    assert loaded.network.config == network.config
    network.load_state_dict(state)
    assert torch.equal(drawn(loaded), drawn(NetworkGenerator(network, name="", licence="", fingerprint="")))
    assert all(torch.equal(value, state[key]) for key, value in loaded.network.state_dict().items())


def layer_attributes(network: StyleGANXL) -> dict[str, dict[str, Any]]:
    """What the layers of an official grown network tell about themselves."""
    told: dict[str, dict[str, Any]] = {}
    for plan in network.config.layers:
        own = told[f"synthesis.{plan.name}"] = {
            f"{side}_{field.name}": getattr(band, field.name)
            for side, band in (("in", plan.source), ("out", plan.target))
            for field in fields(band)
        }
        own |= {side: np.array([own[side], own[side]]) for side in ("in_size", "out_size")}
        own |= {"in_cutoff": np.float64(own["in_cutoff"]), "conv_clamp": 256, "conv_kernel": plan.kernel}
        own |= {"is_critically_sampled": plan.is_critical, "is_torgb": plan.is_rgb, "down_radial": plan.is_radial}
    return told


def grown_network(stem: StyleGANXLConfig, heads: list[Head]) -> StyleGANXL:
    with initialising(0, "test"):
        return StyleGANXL(grown(stem, heads))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("heads", [[Head(4, 2)], [Head(5, 4)], [Head(3, 2), Head(4, 2)]])
def test_a_grown_network_is_what_its_layers_tell(
    heads: list[Head], classes: int, kernel: int, writer: OfficialWriter, tmp_path: Path
) -> None:
    stem = replace(XL_STEM, c_dim=classes, conv_kernel=kernel, use_radial_filters=kernel == 1, first_cutoff=1.5)
    network = grown_network(stem, heads)
    arguments = {"img_resolution": network.config.resolution, "path_stem": "stem.pkl"}
    arguments |= {"head_layers": heads[-1].layers, "up_factor": heads[-1].up_factor}
    record = writer.network(arguments, network.state_dict(), attributes=layer_attributes(network))
    path = writer.write(tmp_path / "official.pkl", {"G_ema": record})
    converted = convert_official(path, tmp_path / "converted.safetensors")
    assert converted.family == "StyleGAN-XL"
    assert isinstance(converted.network, StyleGANXL)
    assert converted.network.config.layers == network.config.layers
    assert torch.equal(drawn(converted), drawn(NetworkGenerator(network, name="", licence="", fingerprint="")))


@pytest.mark.parametrize("up_factor", [2, 4])
def test_a_grown_network_without_attributes_is_designed_anew(
    up_factor: int, writer: OfficialWriter, tmp_path: Path
) -> None:
    network = grown_network(XL_STEM, [Head(5, up_factor)])
    arguments = {"img_resolution": 16 * up_factor, "path_stem": "stem.pkl", "head_layers": 5, "up_factor": up_factor}
    path = writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(arguments, network.state_dict())})
    converted = convert_official(path, tmp_path / "converted.safetensors")
    assert torch.equal(drawn(converted), drawn(NetworkGenerator(network, name="", licence="", fingerprint="")))


def test_a_network_whose_filters_do_not_follow_from_its_sizes_is_refused(
    writer: OfficialWriter, tmp_path: Path
) -> None:
    network = grown_network(replace(XL_STEM, first_cutoff=1.5), [Head(4, 2)])
    arguments = {"img_resolution": 32, "head_layers": 4, "up_factor": 2}
    path = writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(arguments, network.state_dict())})
    with pytest.raises(CheckpointError, match=r"L0_\w+\.up_filter is not the filter that its sizes give"):
        convert_official(path, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("architecture", ["orig", "resnet"])
def test_other_architectures_of_stylegan2_are_converted(
    architecture: Any, writer: OfficialWriter, tmp_path: Path
) -> None:
    with initialising(0, "test"):
        network = StyleGAN2(replace(STYLEGAN2, architecture=architecture, conv_clamp=256.0))
    sizes = {"z_dim": 8, "w_dim": 8, "img_resolution": 16, "channel_base": 64, "channel_max": 4, "conv_clamp": 256}
    arguments = sizes | {"architecture": architecture, "mapping_kwargs": {"lr_multiplier": 0.05}}
    path = writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(arguments, network.state_dict())})
    converted = convert_official(path, tmp_path / "converted.safetensors")
    assert isinstance(converted, NetworkGenerator)
    assert converted.network.config == network.config
    assert torch.equal(drawn(converted), drawn(NetworkGenerator(network, name="", licence="", fingerprint="")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c_dim": 5}, r"its mapping\.embed\.weight is missing"),
        (
            {"channel_max": 4000},
            r"its synthesis\.input\.weight is of shape \(12, 12\): expected the shape \(128, 128\)",
        ),
        ({"num_layers": 7}, r"its synthesis\.L2_\w+\.weight is missing"),
        ({"num_critical": 6}, "its num_critical is 6: expected a count from 0 to 5"),
        ({"margin_size": 10**9}, "its margin_size is 1000000000"),
        ({"filter_size": 500}, "has filters of [0-9]+ taps: at most 512"),
        ({"filter_size": 8}, r"_filter is of shape \(12,\): expected the shape \(16,\)"),
        ({"first_stopband": 1e-300}, "has no pixels or no channels"),
        ({"first_cutoff": float("nan")}, "its first_cutoff is nan: expected a positive number"),
        ({"use_radial_filters": 1}, "its use_radial_filters is 1: expected true or false"),
        ({"use_radial_filters": True}, r"down_filter is of shape \(12,\): expected the shape \(12, 12\)"),
        ({"img_channels": 4}, "its img_channels is 4: only 3 is converted"),
    ],
)
def test_another_stylegan3_is_refused_by_what_differs(
    change: dict[str, Any], message: str, writer: OfficialWriter, tmp_path: Path
) -> None:
    config, state = golden_network("stylegan3-t-32")
    path = writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(config | change, state)})
    with pytest.raises(CheckpointError, match=message):
        convert_official(path, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c_dim": 8}, r"its mapping\.embed\.weight is of shape \(7, [0-9]+\): expected the shape \(8, "),
        ({"z_dim": 17}, r"its mapping\.embed_proj\.weight is of shape \(16, "),
    ],
)
def test_another_stem_is_refused_by_what_differs(
    change: dict[str, Any], message: str, writer: OfficialWriter, tmp_path: Path
) -> None:
    config, state = golden_network("stylegan-xl-stem-16")
    path = writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(config | change, state)})
    with pytest.raises(CheckpointError, match=message):
        convert_official(path, tmp_path / "out.safetensors")
