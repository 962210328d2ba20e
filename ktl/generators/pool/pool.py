"""Images that a cloud owns and may share, as an `ImageGenerator`: `pool:FOLDER_OR_TAR?licence=CC0-1.0&size=32`.

Nothing is generated. An image's latent is an encoder's embedding of it; latents are drawn by drawing members of the
pool, and those that come from elsewhere, such as an alignment's centroids, get the nearest image.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import torch
from msgspec import Meta
from torch import Tensor

from ktl.class_statistics import MAX_DIMENSION
from ktl.data.collection import read_collection
from ktl.data.images import Images
from ktl.data.licence import stated_licence
from ktl.encoders import BUILTIN, load_encoder
from ktl.encoders.principal import principal_directions
from ktl.errors import DataError, UsageError
from ktl.generators.pool.members import Members
from ktl.settings import Settings
from ktl.source_options import read_options

PREFIX = "pool:"
COMPARED_AT_ONCE = 64  # latents with all of the pool


@dataclass(frozen=True)
class PoolSettings(Settings):
    """How a pool is read."""

    licence: Annotated[
        str | None, Meta(description="Under which its images are shared; if none, the first line of its LICENSE file.")
    ] = None
    size: Annotated[int, Meta(ge=4, le=1024, description="Pixels of the square images.")] = 32
    encoder: Annotated[str, Meta(description="Whose embedding tells images apart: a source of ktl.encoders.")] = BUILTIN
    dimension: Annotated[
        int, Meta(ge=8, le=MAX_DIMENSION, description="Numbers in a latent, at most the encoder's.")
    ] = 128


class Embedding(Protocol):
    """What tells a pool's images from each other."""

    fingerprint: str  # embeddings with the same one give the same vectors
    dimension: int

    def embed(self, images: Tensor) -> Tensor:
        """uint8 RGB images (n, 3, size, size) -> float32 (n, dimension)."""


class PoolGenerator:
    """Implements `ktl.generators.base.ImageGenerator`; `members` are the latents of all images that there are.

    Latents are rounded to float16, as a cloud does before it draws, so that a member's own latent finds it again. Of
    images with the same latent the first is kept. Raises UsageError for fewer than two.
    """

    Settings = PoolSettings
    family = "pool"
    parameters = 0

    def __init__(
        self, images: Images, embedding: Embedding, *, name: str, licence: str, dimension: int = PoolSettings.dimension
    ) -> None:
        """images: uint8 (n, size, size, 3), which stay in memory as they are; licence: under which they are shared.

        dimension: the numbers in a latent, the principal directions of all embeddings if these have more.
        """
        self.name = name
        self.licence = licence
        self.image_size = images.shape[1]
        self._images = torch.from_numpy(images).permute(0, 3, 1, 2)
        embeddings = embedding.embed(self._images)
        centre, directions = principal_directions(embeddings, dimension)
        latents = ((embeddings - centre) @ directions).to(torch.float16)
        self._number: dict[bytes, int] = {}  # of an image, by its latent's bytes
        for number, latent in enumerate(latents.numpy()):
            self._number.setdefault(latent.tobytes(), number)
        self._kept = torch.tensor([*self._number.values()])
        self.members = latents[self._kept].float()
        if len(self.members) < 2:
            raise UsageError(f"the pool {name} holds 1 image that differs from the others: give at least 2")
        self._tree = Members(self.members)
        self.noise_dim, self.latent_dim = self._tree.noise_dim, self.members.shape[1]
        self.fingerprint = _digest(images, embedding, self.latent_dim)

    def latents(self, noise: Tensor) -> Tensor:
        """noise (n, noise_dim) -> the latents (n, latent_dim) of n members, none twice before all have come once."""
        return self.members[self._tree.chosen(noise)]

    def images(self, latents: Tensor) -> Tensor:
        """latents (n, latent_dim) -> uint8 (n, 3, image_size, image_size): each member's image, else the nearest one.

        The same latent has the same image in any request: that no image comes twice is for `latents` to see to.
        """
        rows = latents.to(torch.float16).numpy()
        numbers = torch.tensor([self._number.get(row.tobytes(), -1) for row in rows], dtype=torch.int64)
        strange = numbers < 0
        numbers[strange] = self._nearest(latents[strange])
        return self._images[numbers].contiguous()

    def _nearest(self, latents: Tensor) -> Tensor:
        # by plain differences: a matrix product's rounding depends on what else is in the batch
        exact = "donot_use_mm_for_euclid_dist"
        parts = [
            torch.cdist(part, self.members, compute_mode=exact).argmin(dim=1)
            for part in latents.split(COMPARED_AT_ONCE)
        ]
        return self._kept[torch.cat(parts)]


def _digest(images: Images, embedding: Embedding, dimension: int) -> str:
    digest = hashlib.sha256(f"{embedding.fingerprint} {dimension} {images.shape}".encode())
    digest.update(images.data)
    return digest.hexdigest()


def load_pool(source: str) -> PoolGenerator:
    """The pool of a source string such as `pool:photos?licence=CC BY 4.0`.

    Raises UsageError for an option that does not fit and where no licence is stated, DataError for a folder or tar file
    without images and for one that is damaged, CheckpointError for an encoder's weights that cannot be had.
    """
    location, _, query = source.removeprefix(PREFIX).partition("?")
    if not location or location == source:
        raise UsageError(f"{source!r} names no pool: give pool:FOLDER or pool:FILE.tar")
    settings = read_options(PoolSettings, query, "a pool")
    path = Path(location).expanduser()
    if not path.exists():
        raise DataError(f"there is no folder or file {location}: give pool:FOLDER or pool:FILE.tar")
    licence = settings.licence or stated_licence(path)
    if not licence:
        raise UsageError(
            f"the pool {location} states no licence: put a LICENSE file beside its images, or write "
            f"pool:{location}?licence=... with the one under which you may share them"
        )
    encoder = load_encoder(settings.encoder)
    if encoder.dimension < settings.dimension:
        raise UsageError(
            f"dimension is {settings.dimension}, but an embedding of {settings.encoder} has {encoder.dimension} "
            "numbers: give at most that"
        )
    images = read_collection(path, settings.size)
    name = path.name.removesuffix(".tar")
    return PoolGenerator(images, encoder, name=name, licence=licence, dimension=settings.dimension)
