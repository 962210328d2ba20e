"""What an official network was made with, as ktl's configurations; nothing is allocated that its file does not hold."""

from __future__ import annotations

import math
from dataclasses import fields
from reprlib import repr as shown
from typing import Any, Literal

from torch import Tensor

from ktl.errors import CheckpointError
from ktl.generators.official_pickle import OfficialNetwork
from ktl.generators.stylegan2 import StyleGAN2Config
from ktl.generators.stylegan3 import LayerPlan, StyleGAN3Config, layer_plans
from ktl.generators.stylegan_xl import StyleGANXLConfig

MOST_RESOLUTION = 1024
MOST_CHANNELS = 4096
MOST_CLASSES = 100_000
MOST_LAYERS = 64
MOST_TAPS = 512  # of a filter, in each direction
MOST_FREQUENCY = 1e6
ARCHITECTURES: tuple[Literal["orig", "skip", "resnet"], ...] = ("orig", "skip", "resnet")


def stylegan2_config(official: OfficialNetwork) -> StyleGAN2Config:
    """Its sizes. Raises CheckpointError naming the first argument or large tensor that is not supported."""
    arguments = _arguments(official)
    _check_supported(arguments, {"img_channels": 3, "activation": "lrelu", "use_noise": True})
    architecture = arguments.get("architecture", "skip")
    if architecture not in ARCHITECTURES:
        raise CheckpointError(f"its architecture is {shown(architecture)}: expected one of {', '.join(ARCHITECTURES)}")
    config = StyleGAN2Config(
        **_mapping_sizes(official, arguments),
        resolution=_resolution(arguments),
        channel_base=_count("channel_base", arguments, MOST_CHANNELS * MOST_RESOLUTION, 32768),
        channel_max=_count("channel_max", arguments, MOST_CHANNELS, 512),
        conv_clamp=_clamp(arguments, official.attributes.get("synthesis.b4.conv1", {}).get("conv_clamp")),
        architecture=architecture,
    )
    _check_mapping(config, official.state)
    _check_blocks(config, official.state)
    return config


def stylegan3_config(official: OfficialNetwork) -> StyleGAN3Config:
    """Its sizes. Raises CheckpointError naming the first argument or large tensor that is not supported."""
    config = _alias_free_config(official)
    _check_mapping(config, official.state)
    return config


def stylegan_xl_config(official: OfficialNetwork) -> StyleGANXLConfig:
    """The sizes of a stem of many classes. Raises CheckpointError like `stylegan3_config`."""
    stem, state = _alias_free_config(official), official.state
    shape = state["mapping.embed.weight"].shape if "mapping.embed.weight" in state else ()
    if len(shape) != 2:
        raise CheckpointError("its embedding of classes, mapping.embed.weight, is missing or no table")
    check_shape("mapping.embed.weight", state, (stem.c_dim, shape[1]))
    check_shape("mapping.embed_proj.weight", state, (stem.z_dim, shape[1]))
    _check_dense(stem, 2 * stem.z_dim, state)
    return StyleGANXLConfig(stem, embed_dim=shape[1])


def _alias_free_config(official: OfficialNetwork) -> StyleGAN3Config:
    """The sizes of a StyleGAN3 or a StyleGAN-XL's stem, the tensors of its synthesis network checked."""
    arguments = _arguments(official)
    _check_supported(arguments, {"img_channels": 3})
    default = {field.name: field.default for field in fields(StyleGAN3Config)}
    radial = arguments.get("use_radial_filters", False)
    if type(radial) is not bool:
        raise CheckpointError(f"its use_radial_filters is {shown(radial)}: expected True or False")
    most = {
        "channel_base": MOST_CHANNELS * MOST_RESOLUTION,
        "channel_max": MOST_CHANNELS,
        "num_layers": MOST_LAYERS,
        "margin_size": MOST_RESOLUTION,
        "conv_kernel": 7,
        "filter_size": MOST_TAPS,
        "lrelu_upsampling": 8,
    }
    numbers = ("first_cutoff", "first_stopband", "last_stopband_rel", "output_scale")
    sizes = _mapping_sizes(official, arguments)
    sizes |= {name: _count(name, arguments, limit, default[name]) for name, limit in most.items()}
    sizes |= {name: _positive(name, arguments.get(name, default[name]), MOST_FREQUENCY) for name in numbers}
    config = StyleGAN3Config(
        **sizes,
        resolution=_resolution(arguments),
        num_critical=_count("num_critical", arguments, sizes["num_layers"] - 1, default["num_critical"], least=0),
        use_radial_filters=radial,
        conv_clamp=_clamp(arguments, default["conv_clamp"]),
    )
    try:
        plans = layer_plans(config)
    except (ArithmeticError, ValueError) as error:
        raise CheckpointError(f"its layers' bands cannot be computed: {error}") from error
    _check_layers(config, plans, official.state)
    return config


def _arguments(official: OfficialNetwork) -> dict[str, Any]:
    """All arguments in one table: some releases give those of the synthesis network in a table of their own."""
    names = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs", "synthesis_kwargs")
    arguments = dict(zip(names, official.init_args, strict=False)) | official.init_kwargs
    synthesis = arguments.pop("synthesis_kwargs", {})
    mapping = arguments.setdefault("mapping_kwargs", {})
    if type(synthesis) is not dict or type(mapping) is not dict:
        raise CheckpointError("its mapping_kwargs or synthesis_kwargs are no table")
    return arguments | synthesis


def _check_supported(arguments: dict[str, Any], supported: dict[str, Any]) -> None:
    for name, value in supported.items():
        if arguments.get(name, value) != value:
            raise CheckpointError(f"its {name} is {shown(arguments[name])}: only {value!r} is converted")


def _mapping_sizes(official: OfficialNetwork, arguments: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that describes the mapping network."""
    mapping = arguments["mapping_kwargs"]
    if mapping.get("activation", "lrelu") != "lrelu":
        raise CheckpointError(f"its mapping's activation is {shown(mapping['activation'])}: only 'lrelu' is converted")
    layers = sum(name.startswith("mapping.fc") and name.endswith(".weight") for name in official.state)
    return {
        "z_dim": _count("z_dim", arguments, MOST_CHANNELS),
        "c_dim": _count("c_dim", arguments, MOST_CLASSES, 0, least=0),
        "w_dim": _count("w_dim", arguments, MOST_CHANNELS),
        "mapping_layers": _count("num_layers", {"num_layers": layers}, MOST_LAYERS),
        "mapping_lr_multiplier": _positive("lr_multiplier", mapping.get("lr_multiplier", 0.01)),
    }


def _count(name: str, arguments: dict[str, Any], most: int, default: Any = None, least: int = 1) -> int:
    value = arguments.get(name, default)
    if type(value) is not int or not least <= value <= most:
        raise CheckpointError(f"its {name} is {shown(value)}: expected a count from {least} to {most}")
    return value


def _positive(name: str, value: Any, most: float = math.inf) -> float:
    if type(value) not in (int, float) or not 0 < value < most:
        raise CheckpointError(f"its {name} is {shown(value)}: expected a positive number")
    return float(value)


def _clamp(arguments: dict[str, Any], default: Any) -> float | None:
    clamp = arguments.get("conv_clamp", default)
    return None if clamp is None else _positive("conv_clamp", clamp)


def _resolution(arguments: dict[str, Any]) -> int:
    value = _count("img_resolution", arguments, MOST_RESOLUTION)
    if value < 4 or value & (value - 1):
        raise CheckpointError(f"its img_resolution is {value}: expected a power of two from 4 on")
    return value


def _check_mapping(config: StyleGAN2Config | StyleGAN3Config, state: dict[str, Tensor]) -> None:
    if config.c_dim:
        check_shape("mapping.embed.weight", state, (config.w_dim, config.c_dim))
    _check_dense(config, config.z_dim + (config.w_dim if config.c_dim else 0), state)


def _check_dense(config: StyleGAN2Config | StyleGAN3Config, inputs: int, state: dict[str, Tensor]) -> None:
    for i in range(config.mapping_layers):
        check_shape(f"mapping.fc{i}.weight", state, (config.w_dim, config.w_dim if i else inputs))


def _check_blocks(config: StyleGAN2Config, state: dict[str, Tensor]) -> None:
    """Makes sure that the file holds what takes memory, before a network of the sizes it claims is made."""
    inputs = 0
    for resolution in config.resolutions:
        channels = config.channels(resolution)
        if not channels:
            raise CheckpointError(f"its channel_base of {config.channel_base} leaves none at {resolution} pixels")
        block = f"synthesis.b{resolution}"
        layers = {"conv1": channels} | ({"conv0": inputs} if inputs else {})
        for layer, width in layers.items():
            check_shape(f"{block}.{layer}.weight", state, (channels, width, 3, 3))
            check_shape(f"{block}.{layer}.affine.weight", state, (width, config.w_dim))
        inputs = channels


def _check_layers(config: StyleGAN3Config, plans: list[LayerPlan], state: dict[str, Tensor]) -> None:
    """The same for a StyleGAN3, whose filters also grow, with the ratio of a layer's two sampling rates."""
    first = plans[0].source.channels
    check_shape("synthesis.input.weight", state, (first, first))
    check_shape("synthesis.input.affine.weight", state, (4, config.w_dim))
    for plan in plans:
        rates = sorted((plan.source.sampling_rate, plan.target.sampling_rate))
        if rates[0] < 1 or min(plan.source.size, plan.source.channels, plan.target.channels) < 1:
            raise CheckpointError(f"its layer {plan.name} has no pixels or no channels")
        taps = rates[1] // rates[0] * config.lrelu_upsampling * config.filter_size
        if taps > MOST_TAPS:
            raise CheckpointError(
                f"its layer {plan.name} has filters of {taps} taps: at most {MOST_TAPS} are converted"
            )
        name, inputs = f"synthesis.{plan.name}", plan.source.channels
        size = 1 if plan.is_rgb else config.conv_kernel
        check_shape(f"{name}.weight", state, (plan.target.channels, inputs, size, size))
        check_shape(f"{name}.affine.weight", state, (inputs, config.w_dim))


def check_shape(name: str, state: dict[str, Tensor], expected: tuple[int, ...]) -> None:
    """Raises CheckpointError unless the tensor `name` is there and of the `expected` shape."""
    tensor = state.get(name)
    if tensor is None or tuple(tensor.shape) != expected:
        found = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
        raise CheckpointError(f"its {name} is {found}: expected the shape {expected}")
