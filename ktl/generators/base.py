"""What a cloud needs of a pre-trained image generator, whatever its family, and a base to derive new ones from."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from typing import Annotated, Any, Protocol, get_type_hints

import msgspec
import torch
from msgspec import Meta
from torch import Tensor, nn

from ktl.errors import UsageError
from ktl.field_annotations import expected
from ktl.settings import NoSettings, Settings

DRAWN_AT_ONCE = 128  # images
MAPPED_AT_ONCE = 8192  # latents
RANDOM_BLOCK = 16  # numbers that torch draws together


class ImageGenerator(Protocol):
    """Noise -> latents -> images. Latents are what is aligned, sent to edges and learnt from.

    For a StyleGAN the noise is z and the latents are w = mapping(z), the class too being drawn from the noise if there
    are any; for a diffusion model both are the initial noise.
    """

    name: str
    family: str
    licence: str  # of the weights
    fingerprint: str  # hexadecimal digest of the weights: two clouds with the same one draw the same images
    noise_dim: Annotated[int, Meta(ge=1)]
    latent_dim: Annotated[int, Meta(ge=1)]
    image_size: Annotated[int, Meta(ge=4)]  # pixels, square
    parameters: Annotated[int, Meta(ge=0)]

    def latents(self, noise: Tensor) -> Tensor:
        """noise (n, noise_dim) ~ N(0, I) -> latents (n, latent_dim), float32."""

    def images(self, latents: Tensor) -> Tensor:
        """latents (n, latent_dim) -> uint8 images (n, 3, image_size, image_size)."""


class BaseGenerator:
    """Derive a generator of your own from it: three sizes and `images` make it an `ImageGenerator`.

        class Stripes(BaseGenerator):
            noise_dim = latent_dim = image_size = 32

            def images(self, latents: Tensor) -> Tensor:
                return (latents * 40 + 128).clamp(0, 255).byte()[:, None, None, :].expand(-1, 3, 32, -1)

    `load_generator("my_package.stripes:Stripes")` finds it. What can be set of it is a nested class `Settings`, derived
    from `ktl.settings.Settings`; its values are then in `self.settings`. Override what else has a better answer.
    """

    family: str = "own"
    licence: str = "not stated"

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @cached_property
    def name(self) -> str:
        """The name of the class."""
        return type(self).__name__

    @cached_property
    def parameters(self) -> int:
        """The numbers in the torch modules among the attributes."""
        return sum(parameter.numel() for module in self._modules() for parameter in module.parameters())

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the class and its source text, the settings, and the weights of the modules among the attributes.

        Override it where anything else changes the images.
        """
        kind = type(self)
        digest = hashlib.sha256(f"{kind.__module__}:{kind.__qualname__}".encode())
        digest.update(msgspec.json.encode(asdict(self.settings)))
        with suppress(OSError, TypeError):  # there may be no source
            digest.update(inspect.getsource(kind).encode())
        for module in self._modules():
            for name, tensor in module.state_dict().items():
                digest.update(name.encode())
                digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def latents(self, noise: Tensor) -> Tensor:
        """The noise itself, (n, noise_dim)."""
        return noise

    def _modules(self) -> Iterator[nn.Module]:
        return (value for value in vars(self).values() if isinstance(value, nn.Module))


def checked_class(name: str, loaded: Any) -> Any:
    """The class of a generator from elsewhere. Raises UsageError unless it can be made of its settings alone."""
    if not isinstance(loaded, type):
        raise UsageError(f"generator {name!r} is a {type(loaded).__name__}: give a class")
    settings = getattr(loaded, "Settings", NoSettings)
    if not (isinstance(settings, type) and issubclass(settings, Settings)):
        raise UsageError(f"Settings of generator {name!r} is {settings!r}: derive it from ktl.settings.Settings")
    try:
        inspect.signature(loaded).bind(settings)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"generator {name!r} cannot be made of its settings ({error}): let its __init__ take them and no more"
        ) from error
    return loaded


def checked_generator(source: str, generator: Any) -> ImageGenerator:
    """The `generator`, if it has all that `ImageGenerator` lists. Raises UsageError naming what is missing or wrong."""
    values = get_type_hints(ImageGenerator, include_extras=True)
    missing = [name for name in (*values, "latents", "images") if not hasattr(generator, name)]
    if missing:
        raise UsageError(
            f"generator {source!r} has no {', '.join(missing)}: give it all that ImageGenerator in {__name__} lists"
        )
    for name, hint in values.items():
        try:
            msgspec.convert(getattr(generator, name), hint)
        except msgspec.ValidationError as error:
            value = getattr(generator, name)
            raise UsageError(f"{name} of generator {source!r} is {value!r}: give {expected(hint)}") from error
    for name in ("latents", "images"):
        if not callable(getattr(generator, name)):
            raise UsageError(f"{name} of generator {source!r} is {getattr(generator, name)!r}: give a method")
    checked: ImageGenerator = generator
    return checked


def sample_latents(generator: ImageGenerator, count: int, rng: torch.Generator) -> Tensor:
    """`count` fresh valid latents (count, latent_dim): the distribution that prototypes are aligned with."""
    if count <= MAPPED_AT_ONCE:
        return generator.latents(torch.randn(count, generator.noise_dim, generator=rng))
    latents, end = torch.empty(count, generator.latent_dim), 0
    for part in sampled_parts(generator, count, rng):
        latents[end : end + len(part)] = part
        end += len(part)
    return latents


def sampled_parts(generator: ImageGenerator, count: int, rng: torch.Generator) -> Iterator[Tensor]:
    """The same latents in order, at most `MAPPED_AT_ONCE` at a time, so that whoever keeps few needs little memory."""
    parts = -(-count // MAPPED_AT_ONCE)
    # parts of about one size, and but for the last of whole blocks: torch draws and maps a few rows in another way
    rows = -(-count // (parts * RANDOM_BLOCK)) * RANDOM_BLOCK
    for start in range(0, count, rows):
        yield generator.latents(torch.randn(min(rows, count - start), generator.noise_dim, generator=rng))


def drawn(generator: ImageGenerator, count: int, rng: torch.Generator) -> Iterator[Tensor]:
    """`count` fresh images, uint8 (DRAWN_AT_ONCE or fewer, 3, image_size, image_size) at a time."""
    for latents in sample_latents(generator, count, rng).split(DRAWN_AT_ONCE):
        with torch.no_grad():
            yield generator.images(latents)


def members_of(generator: ImageGenerator) -> Tensor | None:
    """All latents (n, latent_dim) that have an image, where a generator only hands out its own, as a pool; else None.

    They are an encoder's embeddings of the images: alike images have latents that point to alike directions.
    """
    return getattr(generator, "members", None)


def stock_of(generator: ImageGenerator) -> int | None:
    """How many images there are in all, where a generator only hands out its own; None of one that draws."""
    members = members_of(generator)
    return None if members is None else len(members)
