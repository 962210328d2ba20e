"""What a file may claim about its network: checked before anything of the claimed sizes is allocated.

A configuration is a few numbers, a network of these sizes may be terabytes. So every count is bounded, and every
tensor whose size follows from the counts must be in the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from reprlib import repr as shown
from typing import Any

from ktl.errors import CheckpointError
from ktl.generators.networks.stylegan2 import ARCHITECTURES, StyleGAN2Config
from ktl.generators.networks.stylegan3_layers import Band, LayerPlan, StyleGAN3Config, layer_plans
from ktl.generators.networks.stylegan_xl import Head, StyleGANXLConfig

Config = StyleGAN2Config | StyleGAN3Config
Shapes = Mapping[str, tuple[int, ...]]  # of a file's tensors by their names

MOST_RESOLUTION = 1024
MOST_CHANNELS = 4096
MOST_LAYERS = 64
MOST_TAPS = 512  # of a filter, in each direction
MOST_SIZE = 2 * MOST_RESOLUTION  # of a feature map, margins included
MOST = {
    "resolution": MOST_RESOLUTION,
    "c_dim": 100_000,
    "channel_base": MOST_CHANNELS * MOST_RESOLUTION,
    "mapping_layers": MOST_LAYERS,
    "num_layers": MOST_LAYERS,
    "layers": MOST_LAYERS,
    "up_factor": MOST_RESOLUTION,
    "num_critical": MOST_LAYERS,
    "margin_size": MOST_RESOLUTION // 2,
    "conv_kernel": 7,
    "kernel": 7,
    "filter_size": MOST_TAPS,
    "lrelu_upsampling": 8,
    "size": MOST_SIZE,
    "sampling_rate": MOST_SIZE,
    "index": 2 * MOST_LAYERS,
}
MAY_BE_ZERO = ("c_dim", "num_critical", "index")
MOST_NUMBER = 1e6  # of what is no count: frequencies, scales


def check_config(config: Config, shapes: Shapes) -> None:
    """Raises CheckpointError naming the first number that is out of bounds, or the first large tensor that is missing.

    What takes memory in a network of `config` is thereafter known to be in the file.
    """
    check_fields(config)
    if config.resolution < 4 or config.resolution & (config.resolution - 1):
        raise CheckpointError(f"its resolution is {config.resolution}: expected a power of two from 4 on")
    if isinstance(config, StyleGAN2Config):
        _check_mapping(config, shapes)
        _check_blocks(config, shapes)
    else:
        if isinstance(config, StyleGANXLConfig) and config.c_dim:
            _check_class_mapping(config, shapes)
        else:
            _check_mapping(config, shapes)
        _check_layers(config, shapes)


def check_shape(name: str, shapes: Shapes, expected: tuple[int, ...]) -> None:
    """Raises CheckpointError unless the tensor `name` is there and of the `expected` shape."""
    shape = shapes.get(name)
    if shape != expected:
        found = "missing" if shape is None else f"of shape {shape}"
        raise CheckpointError(f"its {name} is {found}: expected the shape {expected}")


def check_fields(values: Config | LayerPlan | Band | Head) -> None:
    """Raises CheckpointError naming the first field whose value is of the wrong type or out of bounds."""
    for field in fields(values):
        value = getattr(values, field.name)
        if isinstance(value, Band):
            check_fields(value)
        elif field.name == "layers" and type(value) is tuple and len(value) <= MOST_LAYERS:
            for plan in value:
                check_fields(plan)
        elif expected := _expected(field.name, str(field.type), value):
            raise CheckpointError(f"its {field.name} is {shown(value)}: expected {expected}")


def _expected(name: str, kind: str, value: Any) -> str:
    """What the field `name` must be, if `value` is not that; else an empty text."""
    if kind == "int":
        least, most = 0 if name in MAY_BE_ZERO else 1, MOST.get(name, MOST_CHANNELS)
        return "" if type(value) is int and least <= value <= most else f"a count from {least} to {most}"
    if kind == "bool":
        return "" if type(value) is bool else "True or False"
    if name == "architecture":
        return "" if value in ARCHITECTURES else f"one of {', '.join(ARCHITECTURES)}"
    if name == "layers":
        return f"at most {MOST_LAYERS} layers"
    if value is None and kind == "float | None":
        return ""
    return "" if type(value) in (int, float) and 0 < value < MOST_NUMBER else "a positive number"


def _check_mapping(config: Config, shapes: Shapes) -> None:
    inputs = config.z_dim
    if config.c_dim:
        check_shape("mapping.embed.weight", shapes, (config.w_dim, config.c_dim))
        inputs += config.w_dim
    _check_dense(config, inputs, shapes)


def _check_class_mapping(config: StyleGANXLConfig, shapes: Shapes) -> None:
    check_shape("mapping.embed.weight", shapes, (config.c_dim, config.embed_dim))
    check_shape("mapping.embed_proj.weight", shapes, (config.z_dim, config.embed_dim))
    check_shape("mapping.w_avg", shapes, (config.c_dim, config.w_dim))
    _check_dense(config, 2 * config.z_dim, shapes)


def _check_dense(config: Config, inputs: int, shapes: Shapes) -> None:
    for i in range(config.mapping_layers):
        check_shape(f"mapping.fc{i}.weight", shapes, (config.w_dim, config.w_dim if i else inputs))


def _check_blocks(config: StyleGAN2Config, shapes: Shapes) -> None:
    inputs = 0
    for resolution in config.resolutions:
        channels = config.channels(resolution)
        if not channels:
            raise CheckpointError(f"its channel_base of {config.channel_base} leaves none at {resolution} pixels")
        block = f"synthesis.b{resolution}"
        layers = {"conv1": channels} | ({"conv0": inputs} if inputs else {})
        for layer, width in layers.items():
            check_shape(f"{block}.{layer}.weight", shapes, (channels, width, 3, 3))
            check_shape(f"{block}.{layer}.affine.weight", shapes, (width, config.w_dim))
        inputs = channels


def _check_layers(config: StyleGAN3Config, shapes: Shapes) -> None:
    if config.num_critical >= config.num_layers:
        raise CheckpointError(
            f"its num_critical is {config.num_critical}: expected a count from 0 to {config.num_layers - 1}"
        )
    plans = config.layers
    if not plans:
        try:
            plans = tuple(layer_plans(config))
        except (ArithmeticError, ValueError) as error:
            raise CheckpointError(f"its layers' bands cannot be computed: {error}") from error
    first = plans[0].source.channels
    check_shape("synthesis.input.weight", shapes, (first, first))
    check_shape("synthesis.input.affine.weight", shapes, (4, config.w_dim))
    for plan, before in zip(plans, (plans[0], *plans), strict=False):
        _check_layer(config, plan, before, shapes)
    if not plans[-1].is_rgb or plans[-1].target.size != config.resolution:
        raise CheckpointError(f"its last layer is {plans[-1].name}: expected one to RGB of {config.resolution} pixels")


def _check_layer(config: StyleGAN3Config, plan: LayerPlan, before: LayerPlan, shapes: Shapes) -> None:
    source, target = plan.source, plan.target
    rates = sorted((source.sampling_rate, target.sampling_rate))
    if rates[0] < 1 or min(source.size, target.size, source.channels, target.channels) < 1:
        raise CheckpointError(f"its layer {plan.name} has no pixels or no channels")
    if rates[1] % rates[0] or max(source.size, target.size) > MOST_SIZE or not math.isfinite(source.cutoff):
        raise CheckpointError(f"its layer {plan.name} cannot be resampled: {shown(source)} to {shown(target)}")
    if plan is not before and (source.channels, source.size) != (before.target.channels, before.target.size):
        raise CheckpointError(f"its layer {plan.name} does not take what {before.name} gives")
    taps = rates[1] // rates[0] * config.lrelu_upsampling * config.filter_size
    if taps > MOST_TAPS:
        raise CheckpointError(f"its layer {plan.name} has filters of {taps} taps: at most {MOST_TAPS} are supported")
    name = f"synthesis.{plan.name}"
    check_shape(f"{name}.weight", shapes, (target.channels, source.channels, plan.kernel, plan.kernel))
    check_shape(f"{name}.affine.weight", shapes, (source.channels, config.w_dim))
