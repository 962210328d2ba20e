"""Every family in ktl's one file format."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from support.families import NETWORKS, drawn, made

from ktl.errors import CheckpointError
from ktl.generators import load_generator
from ktl.generators.network import NetworkGenerator, load_network, save_network
from ktl.seeds import stream


def metadata(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        about: dict[str, Any] = json.loads(file.metadata()["ktl"])
    return about


@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_is_saved_and_loaded_exactly(name: str, tmp_path: Path) -> None:
    network = made(name)
    save_network(tmp_path / "saved.safetensors", network, licence="CC0-1.0", precision="exact")
    loaded = load_generator(str(tmp_path / "saved.safetensors"))
    assert isinstance(loaded, NetworkGenerator)
    assert loaded.network.config == network.config
    expected = NetworkGenerator(network, name="", licence="", fingerprint="")
    assert loaded.family == expected.family == name.split()[0]
    assert (loaded.latent_dim, loaded.image_size) == (8, network.config.resolution)
    assert torch.equal(drawn(loaded), drawn(expected))
    save_network(tmp_path / "again.safetensors", loaded.network, licence="CC0-1.0", precision="exact")
    assert load_network(tmp_path / "again.safetensors", "again").fingerprint == loaded.fingerprint


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_in_int8_are_nearly_the_same_and_a_quarter_of_the_size(name: str, tmp_path: Path) -> None:
    network, exact, small = made(name), tmp_path / "exact.safetensors", tmp_path / "small.safetensors"
    save_network(exact, network, licence="CC0-1.0", precision="exact")
    save_network(small, network, licence="CC0-1.0", precision="int8")
    found = load_network(small, "small").network.state_dict()
    for key, tensor in network.state_dict().items():
        if tensor.ndim < 2:
            assert torch.equal(found[key], tensor.half().float())
            continue
        off = (found[key] - tensor).flatten(1).abs().amax(dim=1)
        assert (off <= tensor.flatten(1).abs().amax(dim=1) / 254 + 1e-6).all()
    with safe_open(small, framework="pt") as file:
        assert {file.get_tensor(key).dtype for key, tensor in network.state_dict().items() if tensor.ndim > 1} == {
            torch.int8
        }


def test_scales_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    save_network(path, made("LatentFlow"), licence="CC0-1.0", precision="int8")
    about = metadata(path)
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    tensors["synthesis.torgb.weight/scales"] = torch.ones(2)
    save_file(tensors, path, {"ktl": json.dumps(about)})
    with pytest.raises(CheckpointError, match=r"its synthesis\.torgb\.weight/scales is of shape \(2,\): expected the"):
        load_network(path, "odd")


def test_files_from_before_there_were_families_are_read(tmp_path: Path) -> None:
    network = made("StyleGAN2")
    known = {"c_dim", "conv_clamp", "architecture"}  # settings that came later
    config = {name: value for name, value in asdict(network.config).items() if name not in known}
    about = {"format": "ktl-stylegan2-1", "config": config, "licence": "CC0-1.0"}
    path = tmp_path / "old.safetensors"
    save_file(network.state_dict(), path, {"ktl": json.dumps(about)})
    expected = NetworkGenerator(network, name="", licence="", fingerprint="")
    assert torch.equal(drawn(load_network(path, "old")), drawn(expected))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"family": "StyleGAN9"},
            "its family is 'StyleGAN9': expected one of StyleGAN2, StyleGAN3, StyleGAN-XL, LatentFlow",
        ),
        ({"family": "StyleGAN3"}, "is no generator that ktl can read"),
        (
            {"config": {"stem": {}}},
            "is no generator that ktl can read: it has 'stem', which is no setting of StyleGANXLConfig",
        ),
        (
            {"format": "ktl-stylegan-2"},
            "its format is 'ktl-stylegan-2': expected one of ktl-stylegan-1, ktl-stylegan2-1",
        ),
    ],
)
def test_a_file_of_another_family_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    network = made("StyleGAN-XL")
    save_network(path, network, licence="CC0-1.0")
    save_file(network.state_dict(), path, {"ktl": json.dumps(metadata(path) | change)})
    with pytest.raises(CheckpointError, match=message):
        load_network(path, "odd")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["z_dim"], 4097, "its z_dim is 4097: expected a whole number of at least 1 and at most 4096"),
        (["z_dim"], True, "its z_dim is True: expected a whole number"),
        (["conv_clamp"], 1e6, "its conv_clamp is 1000000.0: expected a positive number below 1,000,000"),
        (["layers"], 7, "its layers is 7: expected `array`, got `int`"),
        (["layers"], [{}] * 65, "its layers is .*: expected `array` of length <= 64"),
        (["layers", 2], {}, r"its layers\[2\].index is missing: expected a whole number of at least 0 and at most 128"),
        (
            ["layers", 2, "target", "size"],
            2**40,
            r"its layers\[2\].target.size is 1099511627776: expected a whole number of at least 1 and at most 2048",
        ),
        (["layers", 2, "target", "colour"], 1, "it has 'colour', which is no setting of StyleGANXLConfig"),
        (["layers", 2, "source", "size"], 2047, r"its layer \w+ does not take what \w+ gives"),
    ],
)
def test_what_a_file_claims_is_refused_by_name_value_and_bounds(
    place: list[Any], value: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.safetensors"
    network = made("StyleGAN-XL with heads")
    save_network(path, network, licence="CC0-1.0")
    about = metadata(path)
    *parents, last = place
    inner = about["config"]
    for name in parents:
        inner = inner[name]
    inner[last] = value
    save_file(network.state_dict(), path, {"ktl": json.dumps(about)})
    with pytest.raises(CheckpointError, match=message):
        load_network(path, "odd")


@pytest.mark.parametrize(
    ("claimed", "message"),
    [
        ({"flow_width": 4096}, r"its mapping\.velocity\.of_point\.weight is .*: expected the shape \(4096, 8\)"),
        ({"flow_layers": 3}, r"its mapping\.velocity\.layers\.2\.1\.weight is missing: expected the shape \(8, 8\)"),
        ({"flow_steps": 1001}, "its flow_steps is 1001: expected a whole number of at least 1 and at most 1000"),
        ({"channels": [4096, 8, 4]}, r"its synthesis\.first\.weight is .*\(65536, 8\)"),
        ({"channels": [8, 8]}, "its channels are 2: expected one for each size up to 16"),
        ({"channels": [8] * 65}, "its channels is .*: expected `array` of length <= 64"),
        (
            {"resolution": 32, "channels": [8, 8, 4, 2]},
            r"its synthesis\.blocks\.3\.conv0\.weight is missing: expected the shape \(2, 4, 3, 3\)",
        ),
    ],
)
def test_what_a_latent_flow_claims_must_be_in_the_file(claimed: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    network = made("LatentFlow")
    save_network(path, network, licence="CC0-1.0")
    about = metadata(path)
    about["config"] |= claimed
    save_file(network.state_dict(), path, {"ktl": json.dumps(about)})
    with pytest.raises(CheckpointError, match=message):
        load_network(path, "odd")


@pytest.mark.parametrize("name", ["StyleGAN2 of classes", "StyleGAN3 of classes", "StyleGAN-XL"])
@torch.no_grad()
def test_the_last_numbers_of_the_noise_choose_the_class_uniformly(name: str) -> None:
    network = made(name)
    generator = NetworkGenerator(network, name="", licence="", fingerprint="")
    assert generator.noise_dim == 8 + 3
    z = torch.randn(1, 8, generator=stream(0, "z")).expand(3000, -1)
    scores = torch.randn(3000, 3, generator=stream(0, "classes"))
    latents = generator.latents(torch.cat([z, scores], dim=1))
    means = network.mapping(z[:3], 1.0, torch.eye(3))
    nearest = torch.cdist(latents, means).argmin(dim=1)
    assert torch.equal(nearest, scores.argmax(dim=1))
    torch.testing.assert_close(latents, means[nearest], atol=1e-5, rtol=1e-5)
    assert (nearest.bincount(minlength=3) - 1000).abs().max() < 4 * 26  # standard deviations of a count
