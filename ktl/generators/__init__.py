"""Pre-trained image generators by name or path."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from ktl.errors import UsageError

if TYPE_CHECKING:
    from ktl.generators.base import ImageGenerator

BUILTIN = "builtin"


def load_generator(
    source: str, *, cached: bool = False, products: str = "float32", compiled: bool = False
) -> ImageGenerator:
    """`builtin` (a StyleGAN2 of 32 x 32 pixels that ships with ktl), the path of a file, or
    `diffusers:PATH_OR_ID?option=value&...` (ktl/generators/diffusion/source.py has the options).

    A file is a .safetensors that ktl wrote, or an official StyleGAN: its .pkl (the network G_ema) or an .npz of arrays.
    `cached` is for clouds: images of slow generators are kept on disk, so that a latent is drawn once. `products`
    ("bfloat16") and `compiled` make a StyleGAN draw faster (`StyleGANGenerator.hasten`). Raises UsageError for another
    source or where these do not fit, CheckpointError for a damaged file.
    """
    generator = _load(source)
    if compiled or products != "float32":
        from ktl.generators.stylegan import StyleGANGenerator

        if not isinstance(generator, StyleGANGenerator):
            raise UsageError(f"--products and --compile are for a StyleGAN, but {source} is a {generator.family}")
        generator.hasten(products, compiled=compiled)
    if not cached:
        return generator
    from ktl.generators.cached import with_cache

    return with_cache(generator)


def _load(source: str) -> ImageGenerator:
    from ktl.generators.stylegan import load_stylegan

    if source == BUILTIN:
        with as_file(files("ktl.generators") / "weights" / "builtin.safetensors") as path:
            return load_stylegan(path, name=BUILTIN)
    if source.startswith("diffusers:"):
        from ktl.generators.diffusion.pipeline import load_diffusion

        return load_diffusion(source)
    path = Path(source)
    if path.suffix == ".safetensors":
        return load_stylegan(path, name=path.stem)
    if path.suffix in (".pkl", ".npz"):
        from ktl.generators.official.convert import load_official

        return load_official(path)
    raise UsageError(
        f"unknown generator {source!r}: give '{BUILTIN}', the path of a .safetensors that ktl wrote or of an official "
        "StyleGAN's .pkl, or diffusers:FOLDER_OR_ID"
    )
