"""What a file may claim about its network: checked before anything of the claimed sizes is allocated.

A configuration is a few numbers, a network of these sizes may be terabytes. Each number is bounded when it is decoded
(`networks/bounds.py`); here they must fit each other, and every tensor whose size follows from them must be there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from reprlib import repr as shortened

from ktl.errors import CheckpointError
from ktl.generators.networks.bounds import MAX_MAP_SIZE, MAX_TAPS
from ktl.generators.networks.latent_flow import LatentFlowConfig
from ktl.generators.networks.stylegan2 import StyleGAN2Config
from ktl.generators.networks.stylegan3_layers import LayerPlan, StyleGAN3Config, layer_plans
from ktl.generators.networks.stylegan_xl import StyleGANXLConfig

Config = StyleGAN2Config | StyleGAN3Config | LatentFlowConfig
Shapes = Mapping[str, tuple[int, ...]]  # name of a tensor in the file -> its shape


def check_config(config: Config, shapes: Shapes) -> None:
    """Raises CheckpointError naming the first number of a decoded `config` that does not fit the others, or the first
    large tensor that is missing.

    What takes memory in a network of `config` is thereafter known to be in the file.
    """
    if config.resolution < 4 or config.resolution & (config.resolution - 1):
        raise CheckpointError(f"its resolution is {config.resolution}: expected a power of two from 4 on")
    if isinstance(config, StyleGAN2Config):
        _check_mapping(config, shapes)
        _check_blocks(config, shapes)
    elif isinstance(config, LatentFlowConfig):
        _check_flow(config, shapes)
        _check_decoder(config, shapes)
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
        actual = "missing" if shape is None else f"of shape {shape}"
        raise CheckpointError(f"its {name} is {actual}: expected the shape {expected}")


def _check_mapping(config: StyleGAN2Config | StyleGAN3Config, shapes: Shapes) -> None:
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


def _check_dense(config: StyleGAN2Config | StyleGAN3Config, inputs: int, shapes: Shapes) -> None:
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


def _check_flow(config: LatentFlowConfig, shapes: Shapes) -> None:
    velocity, width = "mapping.velocity", config.flow_width
    check_shape(f"{velocity}.of_point.weight", shapes, (width, config.w_dim))
    for number in range(config.flow_layers):
        for part in (1, 3):
            check_shape(f"{velocity}.layers.{number}.{part}.weight", shapes, (width, width))
    check_shape(f"{velocity}.out.1.weight", shapes, (config.w_dim, width))


def _check_decoder(config: LatentFlowConfig, shapes: Shapes) -> None:
    widths = config.channels
    if 4 << (len(widths) - 1) != config.resolution:
        raise CheckpointError(f"its channels are {len(widths)}: expected one for each size up to {config.resolution}")
    check_shape("synthesis.first.weight", shapes, (widths[0] * 16, config.w_dim))
    for number, (inputs, width) in enumerate(pairwise([widths[0], *widths])):
        block = f"synthesis.blocks.{number}"
        check_shape(f"{block}.conv0.weight", shapes, (width, inputs, 3, 3))
        check_shape(f"{block}.conv1.weight", shapes, (width, width, 3, 3))
        check_shape(f"{block}.affine.weight", shapes, (2 * width, config.w_dim))


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
    if rates[1] % rates[0] or max(source.size, target.size) > MAX_MAP_SIZE or not math.isfinite(source.cutoff):
        raise CheckpointError(f"its layer {plan.name} cannot be resampled: {shortened(source)} to {shortened(target)}")
    if plan is not before and (source.channels, source.size) != (before.target.channels, before.target.size):
        raise CheckpointError(f"its layer {plan.name} does not take what {before.name} gives")
    taps = rates[1] // rates[0] * config.lrelu_upsampling * config.filter_size
    if taps > MAX_TAPS:
        raise CheckpointError(f"its layer {plan.name} has filters of {taps} taps: at most {MAX_TAPS} are supported")
    name = f"synthesis.{plan.name}"
    check_shape(f"{name}.weight", shapes, (target.channels, source.channels, plan.kernel, plan.kernel))
    check_shape(f"{name}.affine.weight", shapes, (source.channels, config.w_dim))
