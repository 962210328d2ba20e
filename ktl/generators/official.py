"""Converts networks of the official StyleGAN releases to the files that `ktl.generators.load_generator` reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from reprlib import repr as shown

from ktl.errors import CheckpointError
from ktl.generators.base import ImageGenerator
from ktl.generators.official_config import check_shape, stylegan2_config, stylegan3_config, stylegan_xl_config
from ktl.generators.official_pickle import OfficialNetwork, read_official
from ktl.generators.stylegan import Network, load_stylegan, save_stylegan
from ktl.generators.stylegan2 import StyleGAN2
from ktl.generators.stylegan3 import StyleGAN3
from ktl.generators.stylegan_xl import StyleGANXL
from ktl.seeds import initialising


def convert_official(path: Path, out: Path, *, network: str = "G_ema", licence: str = "not stated") -> ImageGenerator:
    """Writes the network of the official file `path` to `out` and returns it as loaded from there.

    Its weights are kept exactly. Raises CheckpointError if the file cannot be read or its network is of no family that
    ktl knows.
    """
    official = read_official(path, network)
    for belongs, make in FAMILIES:
        if belongs(official):
            try:
                converted = _filled(make, official)
            except CheckpointError as error:
                raise CheckpointError(f"{network} of {path} cannot be converted: {error}") from error
            save_stylegan(out, converted, licence=licence, exact=True)
            return load_stylegan(out, name=out.stem)
    synthesis = official.classes.get("synthesis", "no synthesis network")
    raise CheckpointError(
        f"{network} of {path} is a {shown(official.class_name)} with {shown(synthesis)}: "
        "only StyleGAN2, StyleGAN3 and stems of StyleGAN-XL are converted"
    )


def _is_stylegan2(official: OfficialNetwork) -> bool:
    return official.class_name == "Generator" and "synthesis.b4" in official.classes


def _is_stylegan3(official: OfficialNetwork) -> bool:
    return official.class_name == "Generator" and "synthesis.input.freqs" in official.state


def _is_stylegan_xl(official: OfficialNetwork) -> bool:
    return _is_stylegan3(official) and "mapping.embed_proj" in official.classes


FAMILIES: list[tuple[Callable[[OfficialNetwork], bool], Callable[[OfficialNetwork], Network]]] = [
    (_is_stylegan2, lambda official: StyleGAN2(stylegan2_config(official))),
    (_is_stylegan_xl, lambda official: StyleGANXL(stylegan_xl_config(official))),
    (_is_stylegan3, lambda official: StyleGAN3(stylegan3_config(official))),
]


def _filled(make: Callable[[OfficialNetwork], Network], official: OfficialNetwork) -> Network:
    """The network with the official weights. Raises CheckpointError naming the first tensor that does not fit."""
    with initialising(0, "replaced below"):
        network = make(official)
    expected = network.state_dict()
    if set(expected) != set(official.state):
        odd = sorted(set(expected) ^ set(official.state))
        raise CheckpointError(
            f"its tensors {shown(odd)} are missing or unknown: expected a plain {type(network).__name__}"
        )
    for name, tensor in expected.items():
        check_shape(name, official.state, tuple(tensor.shape))
    network.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in official.state.items()})
    return network
