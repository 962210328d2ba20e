"""The configuration of an official network as one of ktl's, decoded and checked.

Releases differ in where they keep a setting: in the arguments of the network, in a table inside these, in the
arguments or attributes of a module. The tensors and their names tell what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from reprlib import repr as shortened
from typing import Any, TypeVar

from ktl.errors import CheckpointError
from ktl.generators.decoding import decoded
from ktl.generators.limits import check_config
from ktl.generators.networks.stylegan2 import StyleGAN2Config
from ktl.generators.networks.stylegan3_layers import LayerPlan, StyleGAN3Config
from ktl.generators.networks.stylegan_xl import Head, StyleGANXLConfig, grown
from ktl.generators.official.pickles import OfficialNetwork

POSITIONAL = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs", "synthesis_kwargs")
SUPPORTED = {"img_channels": 3, "activation": "lrelu", "use_noise": True}
MAX_STAGES = 8

Kind = TypeVar("Kind", StyleGAN2Config, StyleGAN3Config, StyleGANXLConfig)


def stylegan2_config(official: OfficialNetwork) -> StyleGAN2Config:
    """Its sizes. Raises CheckpointError naming the first argument or large tensor that is not supported."""
    arguments = _arguments(official)
    clamp = official.attributes.get("synthesis.b4.conv1", {}).get("conv_clamp")
    default = {"channel_base": 32768, "channel_max": 512, "conv_clamp": clamp}
    config = _config(StyleGAN2Config, default | arguments | _mapping_sizes(official, arguments))
    check_config(config, official.shapes)
    return config


def stylegan3_config(official: OfficialNetwork) -> StyleGAN3Config:
    """Its sizes. Raises CheckpointError naming the first argument or large tensor that is not supported."""
    arguments = _arguments(official)
    config = _config(StyleGAN3Config, arguments | _mapping_sizes(official, arguments))
    check_config(config, official.shapes)
    return config


def stylegan_xl_config(official: OfficialNetwork) -> StyleGANXLConfig:
    """The sizes of a stem. Raises CheckpointError like `stylegan3_config`."""
    arguments = _arguments(official)
    sizes = _latent_sizes(official) | arguments | _mapping_sizes(official, arguments)
    config = _config(StyleGANXLConfig, sizes)
    check_config(config, official.shapes)
    return config


def is_grown(official: OfficialNetwork) -> bool:
    """Whether it is a StyleGAN-XL with super-resolution stages: they are made by other arguments than a stem."""
    return official.class_name == "SuperresGenerator" or not {"superres", "head_layers"}.isdisjoint(
        official.init_kwargs
    )


def superres_config(official: OfficialNetwork) -> StyleGANXLConfig:
    """The sizes of a StyleGAN-XL that was grown, its layers as the file lists them. Raises like `stylegan3_config`.

    Where the layers carry no attributes, they are designed anew from the arguments of the stages and their stem.
    """
    names = layer_names(official)
    heads, stem = _stages(_arguments(official))
    for module in (f"synthesis.{names[0]}", "synthesis"):  # what they were made with
        stem = official.attributes.get(module, {}) | stem
    stem = _latent_sizes(official) | stem | _mapping_sizes(official, stem)
    if all("in_cutoff" in official.attributes[f"synthesis.{name}"] for name in names):
        layers = [_listed_layer(name, official) for name in names]
    else:
        layers = _designed_layers(heads, stem, names)
    config = _config(StyleGANXLConfig, stem | {"img_resolution": layers[-1].target.size}, layers)
    check_config(config, official.shapes)
    return config


def layer_names(official: OfficialNetwork) -> list[str]:
    """The names of the synthesis network's layers, such as L3_36_512, by their numbers. Raises if there are none."""
    modules = [name.removeprefix("synthesis.") for name in official.classes if name.startswith("synthesis.L")]
    names = {name: name[1:].split("_") for name in modules if "." not in name}
    if not names or not all(len(parts) == 3 and all(map(str.isdecimal, parts)) for parts in names.values()):
        raise CheckpointError(f"its synthesis layers are {shortened(list(names))}: expected names such as L3_36_512")
    return sorted(names, key=lambda name: int(names[name][0]))


def _stages(arguments: dict[str, Any]) -> tuple[list[Head], dict[str, Any]]:
    """The stages of a grown network, the last one last, and the arguments of their stem as far as they are known."""
    heads: list[Head] = []
    while "superres" in arguments and len(heads) < MAX_STAGES:
        heads.insert(0, _head(_table("superres", arguments)))
        arguments = _table("stem", arguments)
    if heads:
        return heads, arguments | _table("synthesis_kwargs", arguments)
    head = _head(arguments)
    resolution = arguments.get("img_resolution")
    if type(resolution) is not int:
        raise CheckpointError(f"its img_resolution is {shortened(resolution)}: expected a count")
    return [head], {"img_resolution": resolution // head.up_factor}


def _head(arguments: dict[str, Any]) -> Head:
    official_names = {"layers": "head_layers", "up_factor": "up_factor"}
    return decoded(Head, {ours: arguments[name] for ours, name in official_names.items() if name in arguments})


def _listed_layer(name: str, official: OfficialNetwork) -> LayerPlan:
    try:
        return LayerPlan.from_attributes(name, official.attributes[f"synthesis.{name}"])
    except (LookupError, ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"its layer {name} does not tell its bands: {shortened(str(error))}") from error


def _designed_layers(heads: list[Head], stem: dict[str, Any], names: list[str]) -> list[LayerPlan]:
    """The layers of a network that tells no more than how it was grown; sizes and channels are those in the `names`."""
    parts = [[int(part) for part in name[1:].split("_")] for name in names]
    kept = next((i for i, (number, *_) in enumerate(parts) if number != i), len(names))  # a stage skips a number
    sizes = {"num_layers": kept + StyleGAN3Config.num_critical} | stem
    config = _config(StyleGANXLConfig, sizes)
    try:
        plans = grown(config, heads).layers
    except (ArithmeticError, ValueError) as error:
        raise CheckpointError(f"its layers' bands cannot be computed: {error}") from error
    if [plan.index for plan in plans] != [number for number, *_ in parts]:
        raise CheckpointError(f"its layers are {shortened(names)}: expected {shortened([plan.name for plan in plans])}")
    layers = []
    _, size, channels = parts[0]
    target = replace(plans[0].source, size=size, channels=channels)
    for plan, (_, size, channels) in zip(plans, parts, strict=True):
        source, target = target, replace(plan.target, size=size, channels=channels)
        layers.append(replace(plan, source=source, target=target))
    return layers


def _arguments(official: OfficialNetwork) -> dict[str, Any]:
    """All arguments in one table: some releases give those of the synthesis network in a table of their own."""
    arguments = dict(zip(POSITIONAL, official.init_args, strict=False)) | official.init_kwargs
    return arguments | _table("synthesis_kwargs", arguments)


def _table(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    table = arguments.get(name, {})
    if type(table) is not dict:
        raise CheckpointError(f"its {name} is {shortened(table)}: expected a table")
    return table


def _mapping_sizes(official: OfficialNetwork, arguments: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that describes the mapping network's layers."""
    mapping = official.attributes.get("mapping", {}) | _table("mapping_kwargs", arguments)
    _check_supported(mapping)
    layers = sum(name.startswith("mapping.fc") and name.endswith(".weight") for name in official.shapes)
    return {"mapping_layers": layers, "mapping_lr_multiplier": mapping.get("lr_multiplier", 0.01)}


def _latent_sizes(official: OfficialNetwork) -> dict[str, Any]:
    """The sizes of a StyleGAN-XL's latents and classes, from its tensors: a grown one tells them nowhere else."""
    w_dim, inputs = _matrix("mapping.fc0.weight", official)
    if "mapping.embed.weight" not in official.shapes:
        return {"z_dim": inputs, "c_dim": 0, "w_dim": w_dim}
    c_dim, embed_dim = _matrix("mapping.embed.weight", official)
    return {"z_dim": inputs // 2, "c_dim": c_dim, "w_dim": w_dim, "embed_dim": embed_dim}


def _matrix(name: str, official: OfficialNetwork) -> tuple[int, ...]:
    shape = official.shapes.get(name, ())
    if len(shape) != 2:
        raise CheckpointError(f"its {name} is missing or no matrix")
    return shape


def _check_supported(arguments: dict[str, Any]) -> None:
    for name, value in SUPPORTED.items():
        if arguments.get(name, value) != value:
            raise CheckpointError(f"its {name} is {shortened(arguments[name])}: only {value!r} is converted")


def _config(kind: type[Kind], arguments: dict[str, Any], layers: Sequence[LayerPlan] = ()) -> Kind:
    """The configuration that `arguments` and `layers` give, with the defaults of `kind`. Raises CheckpointError."""
    _check_supported(arguments)
    if "img_resolution" in arguments:
        arguments = arguments | {"resolution": arguments["img_resolution"]}
    names = {field.name for field in fields(kind)} - {"layers"}
    table = {name: value for name, value in arguments.items() if name in names}
    return decoded(kind, table | ({"layers": [asdict(plan) for plan in layers]} if layers else {}))
