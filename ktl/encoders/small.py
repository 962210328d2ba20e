"""ktl's own encoder: a small residual network, its file, and the one that ships."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import torch
import torch.nn.functional as F
from msgspec import Meta
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ktl.encoders.base import Encoder
from ktl.errors import CheckpointError
from ktl.files import file_digest, why_unreadable, write_atomically
from ktl.seeds import initialising

FORMAT = "ktl-encoder-1"
BUILTIN = "builtin"
Width = Annotated[int, Meta(ge=1, le=1024)]


@dataclass(frozen=True)
class SmallEncoderConfig:
    """The network's sizes: the stem's channels, then those of one residual block each, at half of the side before."""

    image_size: Annotated[int, Meta(ge=16, le=256, description="Pixels.")] = 48
    widths: Annotated[tuple[Width, ...], Meta(min_length=2, max_length=6)] = (32, 64, 128, 256)
    dimension: Annotated[int, Meta(ge=8, le=4096, description="Numbers in an embedding.")] = 256


@dataclass(frozen=True)
class Description:
    """What a file says of its network."""

    format: Literal["ktl-encoder-1"]
    config: SmallEncoderConfig
    licence: str


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, the first of stride 2, beside a 1 x 1 one (He et al., CVPR 2016)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = convolution(inputs, width, 3, stride=2)
        self.second = convolution(width, width, 3)
        self.shortcut = convolution(inputs, width, 1, stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(maps))) + self.shortcut(maps))


class SmallEncoderNetwork(nn.Module):
    """float32 (n, 3, size, size) in [-1, 1] -> unit vectors (n, dimension).

    Plain convolutions: trained on a processor, an image costs a third of what it costs in an inverted-residual network
    of as many parameters.
    """

    def __init__(self, config: SmallEncoderConfig) -> None:
        super().__init__()
        self.config = config
        stem, *widths = config.widths
        self.stem = convolution(3, stem, 3, stride=2)
        self.blocks = nn.Sequential(*map(ResidualBlock, config.widths, widths))
        self.head = nn.Linear(widths[-1], config.dimension)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(F.relu(self.stem(images)))
        return F.normalize(self.head(maps.mean(dim=(2, 3))).float(), dim=1)


def convolution(inputs: int, width: int, side: int, stride: int = 1) -> nn.Sequential:
    """With batch normalisation, without ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, width, side, stride, padding=side // 2, bias=False), nn.BatchNorm2d(width))


class SmallEncoder(Encoder):
    """A network of ktl's own as an encoder: unit vectors."""

    def __init__(self, network: SmallEncoderNetwork, *, name: str, licence: str, fingerprint: str) -> None:
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.name = name
        self.licence = licence
        self.fingerprint = fingerprint
        self.dimension = network.config.dimension
        self.image_size = network.config.image_size

    def features(self, images: Tensor) -> Tensor:
        """Of images in [-1, 1]."""
        features: Tensor = self.network(images)
        return features


def load_builtin() -> SmallEncoder:
    """The encoder that ships with ktl."""
    with as_file(files("ktl.encoders") / "weights" / "builtin.safetensors") as path:
        return load_small_encoder(path, name=BUILTIN)


def save_small_encoder(path: Path, network: SmallEncoderNetwork, *, licence: str) -> None:
    """Writes the weights with their sizes; matrices and convolutions in float16, the few other numbers as they are."""
    tensors = {
        name: (tensor.half() if tensor.ndim > 1 else tensor).contiguous()
        for name, tensor in network.state_dict().items()
    }
    about = {"format": FORMAT, "config": asdict(network.config), "licence": licence}
    # one metadata entry: safetensors writes several in no fixed order, and equal weights should be equal files
    write_atomically(path, save(tensors, metadata={"ktl": json.dumps(about)}))


def load_small_encoder(path: Path, name: str) -> SmallEncoder:
    """Reads a file of `save_small_encoder`. Raises CheckpointError if it is missing, damaged or of another kind."""
    if not path.is_file():
        raise CheckpointError(f"there is no encoder file {path}; give '{BUILTIN}' or a .safetensors that ktl wrote")
    try:
        with safe_open(path, framework="pt") as file:
            about = msgspec.json.decode((file.metadata() or {}).get("ktl", "{}"), type=Description)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        with initialising(0, "replaced by the weights"):
            network = SmallEncoderNetwork(about.config)
        network.load_state_dict(tensors)
    except (SafetensorError, msgspec.DecodeError, LookupError, ValueError, RuntimeError, OSError) as error:
        raise CheckpointError(
            f"{path} is no encoder that ktl can read: {why_unreadable(path, error)}; train it anew"
        ) from error
    return SmallEncoder(network, name=name, licence=about.licence, fingerprint=file_digest(path))
