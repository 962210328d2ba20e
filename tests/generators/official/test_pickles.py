"""Official network files: what is in them is read and converted exactly; hostile ones are refused, nothing executed."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.official_files import OfficialWriter, golden_network
from torch import nn

from ktl.errors import CheckpointError
from ktl.generators import load_generator
from ktl.generators.network import NetworkGenerator
from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.generators.official.convert import convert_official
from ktl.generators.official.pickles import read_official
from ktl.generators.official.sizes import stylegan2_config


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("nested", [False, True])
def test_a_converted_network_draws_the_same_images_to_the_bit(
    writer: OfficialWriter, canary: Path, tmp_path: Path, protocol: int, nested: bool
) -> None:
    config, state = golden_network()
    arguments = dict(config)
    if nested:  # as the first release gives them
        sizes = {name: arguments.pop(name) for name in ("channel_base", "channel_max", "num_fp16_res", "conv_clamp")}
        arguments["synthesis_kwargs"] = writer.table(sizes)
    networks = {"G": None, "D": None, "G_ema": writer.network(arguments, state), "training_set_kwargs": writer.table()}
    path = writer.write(tmp_path / "official.pkl", networks, protocol)
    converted = convert_official(path, tmp_path / "converted.safetensors", licence="CC0-1.0")
    assert not canary.exists()

    sizes = StyleGAN2Config(32, 32, 32, channel_base=256, channel_max=16, mapping_lr_multiplier=0.01)
    network = StyleGAN2(sizes)
    network.load_state_dict(state)
    expected = NetworkGenerator(network, name="", licence="", fingerprint="")
    loaded = load_generator(str(tmp_path / "converted.safetensors"))
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32))
    for generator in (converted, loaded):
        assert torch.equal(generator.latents(z), expected.latents(z))
        assert torch.equal(generator.images(generator.latents(z)), expected.images(expected.latents(z)))
    assert isinstance(loaded, NetworkGenerator)
    assert all(torch.equal(value, state[name]) for name, value in loaded.network.state_dict().items())
    assert (loaded.licence, loaded.fingerprint) == ("CC0-1.0", converted.fingerprint)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_attributes_come_as_plain_values(writer: OfficialWriter, tmp_path: Path, protocol: int) -> None:
    own = {
        "gain": np.float64(1.5),
        "sizes": np.array([[4, 8]]),
        "shape": torch.Size([2, 3]),
        "kind": torch.float16,
        "device": torch.device("cpu"),
        "names": OrderedDict(a=1),
        "_hidden": 3,
    }
    inner = nn.Linear(2, 3)
    weight = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    network = writer.record(
        "Odd", **own, _init_args=(1, "a"), _parameters={"w": nn.Parameter(weight)}, _modules={"fc": inner}
    )
    official = read_official(writer.write(tmp_path / "official.pkl", {"D": network}, protocol), "D")
    assert (official.class_name, official.init_args, official.init_kwargs) == ("Odd", (1, "a"), {})
    attributes = official.attributes[""]
    assert attributes == {
        "gain": 1.5,
        "sizes": [[4, 8]],
        "shape": (2, 3),
        "kind": "torch.float16",
        "device": "cpu",
        "names": {"a": 1},
    }
    assert official.classes == {"": "Odd", "fc": "torch.nn.modules.linear.Linear"}
    assert official.attributes["fc"]["in_features"] == 2
    assert set(official.state) == {"w", "fc.weight", "fc.bias"}
    assert torch.equal(official.state["w"], weight)
    assert torch.equal(official.state["fc.weight"], inner.weight)


@pytest.mark.parametrize("protocol", [2, 4])
def test_harmless_helpers_of_old_files_stand_inert(
    writer: OfficialWriter, canary: Path, tmp_path: Path, protocol: int
) -> None:
    config, state = golden_network()
    own = {
        "act": partial(torch.nn.functional.leaky_relu, negative_slope=0.2),
        "options": writer.table(a=writer.table(b=np.float32(2))),
        "names": frozenset(["a"]),
        "kernel": np.ones((2, 2), dtype=np.float32),
        "loss": writer.reconstruct,  # a function that is only named
        "unknown_of_a_later_release": [None, True],
    }
    path = writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(config, state, **own)}, protocol)
    attributes = read_official(path).attributes[""]
    assert not canary.exists()
    assert attributes["act"] == "an object of functools.partial"
    assert attributes["options"] == {"a": {"b": 2.0}}
    assert attributes["names"] == ["a"]
    assert attributes["kernel"] == [[1.0, 1.0], [1.0, 1.0]]
    assert attributes["loss"] == "the function torch_utils.persistence._reconstruct_persistent_obj"
    assert convert_official(path, tmp_path / "out.safetensors").family == "StyleGAN2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c_dim": 5}, r"its mapping\.embed\.weight is missing"),
        ({"c_dim": -1}, "its c_dim is -1: expected a whole number of at least 0 and at most 100000"),
        ({"architecture": "resnet"}, "are missing or unknown: expected a plain StyleGAN2"),
        ({"architecture": "rest"}, "its architecture is 'rest': expected one of orig, skip, resnet"),
        ({"architecture": "\ud800"}, "surrogates not allowed"),
        ({"img_resolution": 2**40}, "its resolution is 1099511627776"),
        ({"img_resolution": 64}, r"its synthesis\.b64\.conv1\.weight is missing"),
        ({"channel_max": 4000}, r"its synthesis\.b4\.conv1\.weight is of shape \(16, 16, 3, 3\)"),
        ({"w_dim": 4000}, r"its mapping\.fc0\.weight is of shape \(32, 32\)"),
        ({"mapping_kwargs": 3}, "its mapping_kwargs is 3: expected a table"),
        ({"conv_clamp": -1}, "its conv_clamp is -1: expected a positive number below 1,000,000"),
    ],
)
def test_another_network_is_refused_by_what_differs(
    writer: OfficialWriter, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    config, state = golden_network()
    path = writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(config | change, state)})
    with pytest.raises(CheckpointError, match=message):
        convert_official(path, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_another_family_is_named(writer: OfficialWriter, tmp_path: Path) -> None:
    names = {"": "Generator", "synthesis": "DiffusionUnet"}
    network = writer.module({"synthesis.first.weight": torch.zeros(2)}, names)
    path = writer.write(tmp_path / "official.pkl", {"G_ema": network})
    with pytest.raises(CheckpointError, match="a 'Generator' with 'DiffusionUnet': expected a generator of"):
        convert_official(path, tmp_path / "out.safetensors")


@pytest.mark.parametrize("value", [None, 256])
def test_a_clamp_is_taken_from_the_layers_where_no_argument_gives_it(
    writer: OfficialWriter, tmp_path: Path, value: int | None
) -> None:
    config, state = golden_network()
    del config["conv_clamp"]
    network = read_official(writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(config, state)}))
    network.attributes["synthesis.b4.conv1"]["conv_clamp"] = value
    assert stylegan2_config(network).conv_clamp == value


def test_clamped_layers_stay_within_the_bound() -> None:
    network = StyleGAN2(StyleGAN2Config(8, 8, 8, channel_base=64, channel_max=8, conv_clamp=0.25))
    block = network.synthesis.b4
    images = block(None, None, block.modulations(torch.randn(2, 3, 8).unbind()))[1]
    assert images.shape == (3, 3, 4, 4)
    assert images.abs().max() <= 0.25


def test_billions_of_repeated_values_are_refused(refused: Callable[..., str], writer: OfficialWriter) -> None:
    laugh: Any = "ha"
    for _ in range(30):
        laugh = [laugh] * 10
    assert "more than 200,000 values" in refused(pickle.dumps({"G_ema": writer.record("Generator", laugh=laugh)}))
    module = writer.record("Layer")
    for _ in range(30):
        module = writer.record("Layer", _modules={str(i): module for i in range(10)})
    assert "more than 200,000 values" in refused(pickle.dumps({"G_ema": module}))


def test_deep_modules_are_refused(refused: Callable[..., str], writer: OfficialWriter) -> None:
    module = writer.record("Layer")
    for _ in range(40):
        module = writer.record("Layer", _modules={"a": module})
    assert "nested more than 32 deep" in refused(pickle.dumps({"G_ema": module}))


def test_another_network_or_no_file_is_named(
    refused: Callable[..., str], writer: OfficialWriter, tmp_path: Path
) -> None:
    payload = pickle.dumps({"G": writer.record("Generator"), "G_ema": None})
    assert "it holds no network 'G_ema': choose one of ['G']" in refused(payload)
    with pytest.raises(CheckpointError, match=r"there is no network file .*absent\.pkl"):
        read_official(tmp_path / "absent.pkl")
