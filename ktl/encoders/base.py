"""What an image encoder is, ktl's own or another package's: images in, vectors out, alike pictures near each other."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ktl.data.transforms import fit_batch
from ktl.errors import UsageError
from ktl.registry import subclass

AT_ONCE = 64  # images; what is computed together does not depend on how many are asked for at a time


class Encoder(ABC):
    """Derive an encoder of your own from it: `dimension`, `image_size`, `fingerprint` and `features` are enough.

    `mean` and `deviation` say, for each of red, green and blue, how pixels from 0 to 1 are normalised.
    """

    name: str = "own"
    licence: str = "not stated"  # of the weights
    dimension: int  # numbers in an embedding
    image_size: int  # pixels, square: what images are scaled to
    fingerprint: str  # hexadecimal digest of the weights and of how images are prepared
    network: nn.Module  # if there is one: what a generator's training can look through
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    deviation: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """float32 (n, 3, image_size, image_size), normalised -> float32 (n, dimension)."""

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """uint8 RGB (n, 3, s, s) of any size s -> float32 (n, dimension)."""
        return torch.cat([self.features(self._prepared(batch)) for batch in images.split(AT_ONCE)])

    def _prepared(self, images: Tensor) -> Tensor:
        mean, deviation = (torch.tensor(values)[:, None, None] for values in (self.mean, self.deviation))
        normalised = (fit_batch(images, self.image_size, 3).float() / 255 - mean) / deviation
        return normalised.contiguous(memory_format=torch.channels_last)  # which convolutions are faster in


def weights_digest(network: nn.Module, *about: object) -> str:
    """SHA-256 of a network's tensors by name, and of what else changes its embeddings, hexadecimal."""
    digest = hashlib.sha256(repr(about).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


checked_class = subclass(Encoder, "encoder")


def checked_encoder(source: str, encoder: Encoder) -> Encoder:
    """The `encoder` of another package. Raises UsageError if it lacks what an `Encoder` says of itself."""
    if missing := [name for name in ("dimension", "image_size", "fingerprint") if not hasattr(encoder, name)]:
        raise UsageError(f"encoder {source!r} has no {', '.join(missing)}: set it in its __init__ or its class")
    return encoder
