"""Pre-trained image generators by name, path or `module:Class`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ktl.errors import UsageError
from ktl.files import kind_of
from ktl.registry import Choice, Registry, is_import_path
from ktl.settings import NoSettings, describe

if TYPE_CHECKING:
    from ktl.generators.base import ImageGenerator

BUILTIN = "builtin"
LATENT_FLOW = "latent-flow"
SHIPPED = (BUILTIN, LATENT_FLOW)
DIFFUSERS = "diffusers"
POOL = "pool"
TOLD_IN_SOURCE = (POOL, DIFFUSERS)  # whose settings are options in the source string

GENERATORS = Registry(
    "generator",
    "ktl.generators",
    {
        BUILTIN: ("ktl.generators.network:load_builtin", "a StyleGAN2 of 32 x 32 pixels that ships with ktl"),
        LATENT_FLOW: (
            "ktl.generators.network:load_latent_flow",
            "a latent flow of 32 x 32 pixels that ships with ktl: images that teach more",
        ),
        DIFFUSERS: (
            "ktl.generators.diffusion.pipeline:DiffusionGenerator",
            "any text-to-image pipeline, as diffusers:FOLDER_OR_ID?option=value&...",
        ),
        POOL: (
            "ktl.generators.pool.pool:PoolGenerator",
            "images that you own and may share, as pool:FOLDER_OR_TAR?option=value&...",
        ),
    },
    adapt="ktl.generators.base:checked_class",
)


def load_generator(
    source: str,
    settings: Mapping[str, Any] | None = None,
    *,
    cached: bool = False,
    products: str = "float32",
    compiled: bool = False,
) -> ImageGenerator:
    """`builtin` or `latent-flow` (which ship with ktl, of 32 x 32 pixels), the path of a file,
    `diffusers:PATH_OR_ID?option=value&...` (ktl/generators/diffusion/source.py has the options),
    `pool:FOLDER_OR_TAR?option=value&...` (ktl/generators/pool/pool.py has them), a name that another package registers
    under the entry points `ktl.generators`, or `module:Class`.

    A file is a .safetensors that ktl wrote, or an official StyleGAN: its .pkl (the network G_ema) or an .npz of arrays.
    A class is made as `Class(settings)`, of its own `Settings` with the values in `settings`; the others have nothing
    to set. `cached` is for clouds: images of slow generators are kept on disk, so that a latent is drawn once.
    `products` ("bfloat16") and `compiled` make such a network draw faster (`NetworkGenerator.hasten`).
    Raises UsageError for another source, for settings that do not fit, and for a class that is no `ImageGenerator`;
    CheckpointError for a damaged file.
    """
    generator = _load(source, settings or {})
    if compiled or products != "float32":
        from ktl.generators.network import NetworkGenerator

        if not isinstance(generator, NetworkGenerator):
            raise UsageError(
                f"--products and --compile are for a StyleGAN or a LatentFlow, but {source} is a {generator.family}"
            )
        generator.hasten(products, compiled=compiled)
    if not cached:
        return generator
    from ktl.generators.cached import with_cache

    return with_cache(generator)


def resolved(choice: Choice | str) -> Choice:
    """A generator's source with its settings: those of a class of another package checked, of ktl's own none.

    Raises UsageError for settings that do not fit.
    """
    source = choice if isinstance(choice, str) else choice.name
    if _is_class(source):
        return GENERATORS.resolve(choice)
    settings = {} if isinstance(choice, str) or isinstance(choice.settings, NoSettings) else choice.settings or {}
    if settings:
        raise UsageError(_refusal(source, settings))
    return Choice(source, NoSettings())


def _is_class(source: str) -> bool:
    """Whether a source is a class of another package."""
    kind, _, _ = source.partition(":")
    return kind not in GENERATORS.builtin() and (source in GENERATORS.names() or is_import_path(source))


def _load(source: str, settings: Mapping[str, Any]) -> ImageGenerator:
    kind, _, _ = source.partition(":")
    if _is_class(source):
        from ktl.generators.base import checked_generator

        choice = GENERATORS.choose(source, **settings)
        return checked_generator(source, GENERATORS.load(source)(choice.settings))
    if settings:
        raise UsageError(_refusal(source, settings))
    if source in SHIPPED:
        shipped: ImageGenerator = GENERATORS.load(source)(NoSettings())
        return shipped
    if kind == DIFFUSERS:
        from ktl.generators.diffusion.pipeline import load_diffusion

        return load_diffusion(source)
    if kind == POOL:
        from ktl.generators.pool.pool import load_pool

        return load_pool(source)
    return _load_file(source)


def _load_file(source: str) -> ImageGenerator:
    path = Path(source)
    if path.suffix == ".safetensors":
        from ktl.generators.network import load_network

        return load_network(path, name=path.stem)
    if path.suffix in (".pkl", ".npz"):
        from ktl.generators.official.convert import load_official

        return load_official(path)
    if path.is_file():
        raise UsageError(
            f"{source} is {kind_of(path) or 'no file of a generator by its name'}: give a .safetensors that ktl wrote "
            "or an official StyleGAN's .pkl"
        )
    others = [repr(name) for name in GENERATORS.names() if name not in GENERATORS.builtin()]
    raise UsageError(
        f"unknown generator {source!r}: give '{BUILTIN}', '{LATENT_FLOW}', the path of a .safetensors that ktl wrote "
        f"or of an official StyleGAN's .pkl, {POOL}:FOLDER_OR_TAR, {DIFFUSERS}:FOLDER_OR_ID, "
        f"{''.join(f'{name}, ' for name in others)}or module:Class"
    )


def _refusal(source: str, settings: Mapping[str, Any]) -> str:
    """Why a generator of ktl's own takes no settings, and what can be said instead."""
    refusal = f"generator {source!r} takes no settings, but {', '.join(settings)} came"
    kind = source.partition(":")[0]
    if kind not in TOLD_IN_SOURCE:
        return f"{refusal}: there is nothing to set"
    options = [field.name for field in describe(GENERATORS.settings_of(kind))]
    return (
        f"{refusal}: write {', '.join(options)} into the source, as {source.partition('?')[0]}?{options[0]}=value&..."
    )
