"""Converts networks of the official StyleGAN releases into ktl's own."""

from __future__ import annotations

from pathlib import Path
from reprlib import repr as shortened

from ktl.errors import CheckpointError
from ktl.generators.limits import check_shape
from ktl.generators.network import Network, NetworkGenerator, load_network, loaded_as_saved, save_network
from ktl.generators.networks.stylegan2 import StyleGAN2
from ktl.generators.networks.stylegan3 import StyleGAN3
from ktl.generators.networks.stylegan_xl import StyleGANXL
from ktl.generators.official.npz_arrays import read_arrays
from ktl.generators.official.pickles import OfficialNetwork, read_official
from ktl.generators.official.sizes import (
    is_grown,
    stylegan2_config,
    stylegan3_config,
    stylegan_xl_config,
    superres_config,
)
from ktl.seeds import initialising

NOT_STATED = "not stated"
FILTER_TOLERANCE = 1e-4  # of a filter's largest coefficient; ours are the official ones to 1e-7


def convert_official(path: Path, out: Path, *, network: str = "G_ema", licence: str = NOT_STATED) -> NetworkGenerator:
    """Writes the network of the official file `path` to `out` and returns it as loaded from there.

    Its weights are kept exactly. Raises CheckpointError if the file cannot be read or its network is of no family that
    ktl knows.
    """
    save_network(out, read_network(path, network), licence=licence, precision="exact")
    return load_network(out, name=out.stem)


def load_official(path: Path) -> NetworkGenerator:
    """The generator in an official file, as `convert_official` would give it. Raises CheckpointError like that."""
    return loaded_as_saved(read_network(path), name=path.stem, licence=NOT_STATED)


def read_network(path: Path, which: str = "G_ema") -> Network:
    """The network `which` of an official .pkl, or the one of an .npz of named arrays. Raises as `convert_official`."""
    official = read_arrays(path) if path.suffix == ".npz" else read_official(path, which)
    try:
        return _filled(_designed(official), official)
    except CheckpointError as error:
        raise CheckpointError(f"{which} of {path} cannot be converted: {error}") from error


def _designed(official: OfficialNetwork) -> Network:
    """A network of the official one's sizes, its weights still random."""
    with initialising(0, "replaced below"):
        if "synthesis.b4" in official.classes:
            return StyleGAN2(stylegan2_config(official))
        if is_grown(official):
            return StyleGANXL(superres_config(official))
        if "mapping.embed_proj" in official.classes:
            return StyleGANXL(stylegan_xl_config(official))
        if "synthesis.input" in official.classes:
            return StyleGAN3(stylegan3_config(official))
    synthesis = official.classes.get("synthesis", "no synthesis network")
    raise CheckpointError(
        f"it is a {shortened(official.class_name)} with {shortened(synthesis)}: expected a generator "
        "of StyleGAN2, StyleGAN3 or StyleGAN-XL"
    )


def _filled(network: Network, official: OfficialNetwork) -> Network:
    """The network with the official weights. Raises CheckpointError naming the first tensor that does not fit."""
    expected = network.state_dict()
    if set(expected) != set(official.state):
        odd = sorted(set(expected) ^ set(official.state))
        raise CheckpointError(
            f"its tensors {shortened(odd)} are missing or unknown: expected a plain {type(network).__name__}"
        )
    for name, tensor in expected.items():
        check_shape(name, official.shapes, tuple(tensor.shape))
        theirs = official.state[name]
        if name.endswith("_filter") and (theirs - tensor).abs().max() > FILTER_TOLERANCE * tensor.abs().max():
            raise CheckpointError(f"its {name} is not the filter that its sizes give: it was designed otherwise")
    network.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in official.state.items()})
    return network
