"""Converts networks of the official StyleGAN releases to the files that `ktl.generators.load_generator` reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from reprlib import repr as shown
from typing import Any

from torch import Tensor

from ktl.errors import CheckpointError
from ktl.generators.base import ImageGenerator
from ktl.generators.official_pickle import OfficialNetwork, read_official
from ktl.generators.stylegan import load_stylegan, save_stylegan
from ktl.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.seeds import initialising

MOST_RESOLUTION = 1024
MOST_CHANNELS = 4096
MOST_MAPPING_LAYERS = 64

Convert = Callable[[OfficialNetwork, Path, str], ImageGenerator]


def convert_official(path: Path, out: Path, *, network: str = "G_ema", licence: str = "not stated") -> ImageGenerator:
    """Writes the network of the official file `path` to `out` and returns it as loaded from there.

    Its weights are kept exactly. Raises CheckpointError if the file cannot be read or its network is of no family that
    ktl knows.
    """
    official = read_official(path, network)
    for belongs, convert in FAMILIES:
        if belongs(official):
            try:
                return convert(official, out, licence)
            except CheckpointError as error:
                raise CheckpointError(f"{network} of {path} cannot be converted: {error}") from error
    synthesis = official.classes.get("synthesis", "no synthesis network")
    raise CheckpointError(
        f"{network} of {path} is a {shown(official.class_name)} with {shown(synthesis)}: only StyleGAN2 is converted"
    )


def _is_stylegan2(official: OfficialNetwork) -> bool:
    return official.class_name == "Generator" and "synthesis.b4" in official.classes


def _convert_stylegan2(official: OfficialNetwork, out: Path, licence: str) -> ImageGenerator:
    config = stylegan2_config(official)
    _check_large_tensors(config, official.state)
    with initialising(0, "replaced below"):
        network = StyleGAN2(config)
    expected = network.state_dict()
    if set(expected) != set(official.state):
        odd = sorted(set(expected) ^ set(official.state))
        raise CheckpointError(f"its tensors {shown(odd)} are missing or unknown: expected a plain StyleGAN2")
    for name, tensor in expected.items():
        _check_shape(name, official.state[name], tuple(tensor.shape))
    network.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in official.state.items()})
    save_stylegan(out, network, licence=licence, exact=True)
    return load_stylegan(out, name=out.stem)


FAMILIES: list[tuple[Callable[[OfficialNetwork], bool], Convert]] = [(_is_stylegan2, _convert_stylegan2)]


def stylegan2_config(official: OfficialNetwork) -> StyleGAN2Config:
    """Its sizes. Raises CheckpointError naming the first argument that is not supported."""
    arguments = _arguments(official)
    mapping = arguments["mapping_kwargs"]
    supported = {"c_dim": 0, "img_channels": 3, "architecture": "skip", "activation": "lrelu", "use_noise": True}
    for name, value in supported.items():
        if arguments.get(name, value) != value:
            raise CheckpointError(f"its {name} is {shown(arguments[name])}: only {value!r} is converted")
    if mapping.get("activation", "lrelu") != "lrelu":
        raise CheckpointError(f"its mapping's activation is {shown(mapping['activation'])}: only 'lrelu' is converted")
    layers = sum(name.startswith("mapping.fc") and name.endswith(".weight") for name in official.state)
    clamp = arguments.get("conv_clamp", official.attributes.get("synthesis.b4.conv1", {}).get("conv_clamp"))
    return StyleGAN2Config(
        z_dim=_count("z_dim", arguments, MOST_CHANNELS),
        w_dim=_count("w_dim", arguments, MOST_CHANNELS),
        resolution=_resolution(arguments),
        channel_base=_count("channel_base", arguments, MOST_CHANNELS * MOST_RESOLUTION, 32768),
        channel_max=_count("channel_max", arguments, MOST_CHANNELS, 512),
        mapping_layers=_count("num_layers", {"num_layers": layers}, MOST_MAPPING_LAYERS),
        mapping_lr_multiplier=_positive("lr_multiplier", mapping.get("lr_multiplier", 0.01)),
        conv_clamp=None if clamp is None else _positive("conv_clamp", clamp),
    )


def _arguments(official: OfficialNetwork) -> dict[str, Any]:
    """All arguments in one table: some releases give those of the synthesis network in a table of their own."""
    names = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs", "synthesis_kwargs")
    arguments = dict(zip(names, official.init_args, strict=False)) | official.init_kwargs
    synthesis = arguments.pop("synthesis_kwargs", {})
    mapping = arguments.setdefault("mapping_kwargs", {})
    if type(synthesis) is not dict or type(mapping) is not dict:
        raise CheckpointError("its mapping_kwargs or synthesis_kwargs are no table")
    return arguments | synthesis


def _count(name: str, arguments: dict[str, Any], most: int, default: int | None = None) -> int:
    value = arguments.get(name, default)
    if type(value) is not int or not 1 <= value <= most:
        raise CheckpointError(f"its {name} is {shown(value)}: expected a count of at most {most}")
    return value


def _positive(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise CheckpointError(f"its {name} is {shown(value)}: expected a positive number")
    return float(value)


def _resolution(arguments: dict[str, Any]) -> int:
    value = _count("img_resolution", arguments, MOST_RESOLUTION)
    if value < 4 or value & (value - 1):
        raise CheckpointError(f"its img_resolution is {value}: expected a power of two from 4 on")
    return value


def _check_large_tensors(config: StyleGAN2Config, state: dict[str, Tensor]) -> None:
    """Makes sure that the file holds what takes memory, before a network of the sizes it claims is made."""
    for i in range(config.mapping_layers):
        name = f"mapping.fc{i}.weight"
        _check_shape(name, state.get(name), (config.w_dim, config.w_dim if i else config.z_dim))
    inputs = 0
    for resolution in config.resolutions:
        channels = config.channels(resolution)
        if not channels:
            raise CheckpointError(f"its channel_base of {config.channel_base} leaves none at {resolution} pixels")
        block = f"synthesis.b{resolution}"
        layers = {"conv1": channels} | ({"conv0": inputs} if inputs else {})
        for layer, width in layers.items():
            name = f"{block}.{layer}"
            _check_shape(f"{name}.weight", state.get(f"{name}.weight"), (channels, width, 3, 3))
            _check_shape(f"{name}.affine.weight", state.get(f"{name}.affine.weight"), (width, config.w_dim))
        inputs = channels


def _check_shape(name: str, tensor: Tensor | None, expected: tuple[int, ...]) -> None:
    if tensor is None or tuple(tensor.shape) != expected:
        found = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
        raise CheckpointError(f"its {name} is {found}: expected the shape {expected}")
