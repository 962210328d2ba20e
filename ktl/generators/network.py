"""A network of any family in a safetensors file as an `ImageGenerator`: how it is saved, loaded and run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ktl.errors import CheckpointError, UsageError
from ktl.files import file_digest, why_unreadable, write_atomically
from ktl.generators.decoding import decoded
from ktl.generators.limits import Config, Shapes, check_config, check_shape
from ktl.generators.networks.convolution import products_in
from ktl.generators.networks.latent_flow import LatentFlow, LatentFlowConfig
from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.generators.networks.stylegan3 import StyleGAN3
from ktl.generators.networks.stylegan3_layers import StyleGAN3Config
from ktl.generators.networks.stylegan_xl import StyleGANXL, StyleGANXLConfig
from ktl.seeds import initialising
from ktl.settings import NoSettings
from ktl.wire.tensors import int8_rows

Network = StyleGAN2 | StyleGAN3 | StyleGANXL | LatentFlow

FORMAT = "ktl-stylegan-1"
Precision = Literal["float16", "exact", "int8"]
SCALES = "/scales"  # after the name of a weight in int8
MAX_HEADER_BYTES = 2**22  # a network of a thousand tensors takes 100 kB
READING_ERRORS = (
    CheckpointError,
    SafetensorError,
    LookupError,
    ArithmeticError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    OSError,
)
BATCH = 64  # images at a time, at most
COMPILED_BATCH = 8  # images at a time, always: another number would be compiled anew
CACHE = 6 * 2**20  # bytes of feature maps at a time: what does not fit a processor's cache slows the arithmetic


PRODUCTS: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}
FAMILIES: dict[str, tuple[Callable[[Any], Network], type[Config]]] = {
    "StyleGAN2": (StyleGAN2, StyleGAN2Config),
    "StyleGAN3": (StyleGAN3, StyleGAN3Config),
    "StyleGAN-XL": (StyleGANXL, StyleGANXLConfig),
    "LatentFlow": (LatentFlow, LatentFlowConfig),
}


@dataclass(frozen=True)
class Description:
    """What a file says of its network. The oldest files, all of StyleGAN2, name no family."""

    format: Literal["ktl-stylegan-1", "ktl-stylegan2-1"]
    config: dict[str, Any]
    licence: str
    family: Literal["StyleGAN2", "StyleGAN3", "StyleGAN-XL", "LatentFlow"] = "StyleGAN2"


def family_of(network: Network) -> str:
    """The name of the network's family, as it is written in files."""
    return next(family for family, (kind, _) in FAMILIES.items() if type(network) is kind)


class NetworkGenerator:
    """Implements `ktl.generators.base.ImageGenerator`; one w is repeated for all layers, as the method does."""

    def __init__(self, network: Network, *, name: str, licence: str, fingerprint: str) -> None:
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.family = family_of(network)
        self.name = name
        self.licence = licence
        self.fingerprint = fingerprint
        config = network.config
        self.z_dim = config.z_dim
        self.classes = config.c_dim
        self.noise_dim = config.z_dim + config.c_dim
        self.latent_dim = config.w_dim
        self.image_size = config.resolution
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        self._products: torch.dtype | None = None
        self._compiled: Callable[[Tensor], Tensor] | None = None

    def hasten(self, products: str = "float32", *, compiled: bool = False) -> None:
        """Lets `images` draw faster: with `products` of convolutions in "bfloat16", or `compiled`.

        In bfloat16 a pixel is a level or two of 255 off. torch.compile compiles when the first images are drawn: it
        takes a minute or more, and the images are the same up to rounding. The fingerprint changes, so that images
        drawn in different ways are not taken for each other. Raises UsageError for other products, and if there is no
        C++ compiler to compile with.
        """
        if products not in PRODUCTS:
            raise UsageError(f"products is {products!r}: choose one of {', '.join(PRODUCTS)}")
        if compiled:
            require_compiler()
            self._compiled = torch.compile(self.network.synthesis, dynamic=False)
        self._products = PRODUCTS[products]
        if compiled or self._products is not None:
            how = f"{self.fingerprint} products {products} compiled {compiled}"
            self.fingerprint = hashlib.sha256(how.encode()).hexdigest()

    def latents(self, noise: Tensor) -> Tensor:
        """noise (n, noise_dim), z and one number for each class if there are any  ->  w (n, w_dim), truncation 1."""
        z, scores = noise.split([self.z_dim, self.classes], dim=1)
        # each of these numbers is equally likely to be the greatest, so classes are drawn uniformly, as in the samples
        # that StyleGAN-XL published, and the noise is one Gaussian vector that alignments can move
        return self.mapped(z, scores.argmax(dim=1) if self.classes else None)

    def mapped(self, z: Tensor, classes: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """z (n, z_dim), class indices (n,) if there are classes  ->  w (n, w_dim), at truncation 0 their mean."""
        labels = None if classes is None else F.one_hot(classes, self.classes).to(z.dtype)
        w: Tensor = self.network.mapping(z, truncation, labels)
        return w

    def raw_images(self, latents: Tensor) -> Tensor:
        """w (n, w_dim) -> float32 (n, 3, resolution, resolution), about [-1, 1]; a few pixels go beyond."""
        batches = [self.network.synthesis(self.network.broadcast(part), CACHE) for part in latents.split(BATCH)]
        return torch.cat(batches)

    def images(self, latents: Tensor) -> Tensor:
        """w (n, w_dim) -> uint8 (n, 3, resolution, resolution)."""
        with products_in(self._products):
            return as_pixels(self.raw_images(latents) if self._compiled is None else self._by_compiled(latents))

    def _by_compiled(self, latents: Tensor) -> Tensor:
        """`raw_images`, but each batch is filled up to one size."""
        assert self._compiled is not None
        size = max(1, min(COMPILED_BATCH, CACHE // self.network.synthesis.map_bytes))
        filled = torch.cat([latents, latents.new_zeros(-len(latents) % size, self.latent_dim)])
        batches = [self._compiled(self.network.broadcast(part)) for part in filled.split(size)]
        return torch.cat(batches)[: len(latents)]


def require_compiler() -> None:
    """Raises UsageError if the C++ compiler that torch.compile needs is not installed."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise UsageError(
            f"compiling needs a C++ compiler, but there is no {compiler}: install it (on Debian: apt install g++), "
            "name yours in CXX, or leave --compile out"
        )


def as_pixels(images: Tensor) -> Tensor:
    """Float images, [-1, 1], of any shape as uint8."""
    return ((images + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def save_network(path: Path, network: Network, *, licence: str, precision: Precision = "float16") -> None:
    """Writes the weights with their family and configuration; `load_network` reads them back.

    "exact": those that float16 would change stay float32. "int8": matrices and kernels have a scale per row, so that a
    number is off by at most 1/254 of its row's maximum; the rest is float16.
    """
    write_atomically(path, _file(network, licence, precision))


def _file(network: Network, licence: str, precision: Precision) -> bytes:
    tensors: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        tensors |= _stored(name, tensor, precision)
    about = {"format": FORMAT, "family": family_of(network), "config": asdict(network.config), "licence": licence}
    # one metadata entry: safetensors writes several in no fixed order, and equal weights should be equal files
    return save(tensors, metadata={"ktl": json.dumps(about)})


def loaded_as_saved(network: Network, *, name: str, licence: str) -> NetworkGenerator:
    """The generator that `load_network` would give of the network, saved exactly, without the file."""
    digest = hashlib.sha256(_file(network, licence, "exact")).hexdigest()
    return NetworkGenerator(network, name=name, licence=licence, fingerprint=digest)


def _stored(name: str, tensor: Tensor, precision: Precision) -> dict[str, Tensor]:
    if precision == "int8" and tensor.ndim > 1:
        rows, scales = int8_rows(tensor.flatten(1))
        return {name: torch.from_numpy(rows).view(tensor.shape), name + SCALES: torch.from_numpy(scales)}
    half = tensor.to(torch.float16)
    kept = tensor if precision == "exact" and not torch.equal(half.to(tensor.dtype), tensor) else half
    return {name: kept.contiguous()}


def load_builtin(settings: NoSettings) -> NetworkGenerator:
    """The StyleGAN2 that ships with ktl."""
    return _shipped("builtin")


def load_latent_flow(settings: NoSettings) -> NetworkGenerator:
    """The latent flow that ships with ktl."""
    return _shipped("latent-flow")


def _shipped(name: str) -> NetworkGenerator:
    with as_file(files("ktl.generators") / "weights" / f"{name}.safetensors") as path:
        return load_network(path, name)


def load_network(path: Path, name: str) -> NetworkGenerator:
    """Reads a file of `save_network`. Raises CheckpointError if it is missing, damaged or of another kind.

    What the file claims is checked against what it holds before any of it takes memory.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no generator file {path}; give 'builtin' or a .safetensors that ktl wrote")
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            about = decoded(Description, json.loads((file.metadata() or {}).get("ktl", "{}")))
            shapes: Shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no dict
            network = _network(about, shapes)
            weights = {key: _weight(file, key, shapes) for key in shapes if not key.endswith(SCALES)}
            network.load_state_dict(weights, assign=True)
    except READING_ERRORS as error:
        reason = why_unreadable(path, error)
        raise CheckpointError(
            f"{path} is no generator that ktl can read: {reason}; convert or train it anew"
        ) from error
    return NetworkGenerator(network, name=name, licence=about.licence, fingerprint=file_digest(path))


def _weight(file: Any, name: str, shapes: Shapes) -> Tensor:
    """A tensor of the file, float32, times its rows' scales if it has any."""
    weight: Tensor = file.get_tensor(name).float()
    if name + SCALES not in shapes:
        return weight
    check_shape(name + SCALES, shapes, (len(weight),))
    scales: Tensor = file.get_tensor(name + SCALES)
    return weight * scales.view(-1, *(1 for _ in weight.shape[1:]))


def _check_header(path: Path) -> None:
    """The header is JSON that is parsed as a whole: a large one would take many times its size in memory."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header claims {length:,} bytes, expected at most {MAX_HEADER_BYTES:,}")


def _network(about: Description, shapes: Shapes) -> Network:
    """The network that a file describes, its weights still to be loaded."""
    kind, config_kind = FAMILIES[about.family]
    config = decoded(config_kind, about.config)
    check_config(config, shapes)
    with initialising(0, "replaced by the weights"):  # not torch's meta device: its first use imports 150 MB
        return kind(config)
