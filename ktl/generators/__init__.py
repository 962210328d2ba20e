"""Pre-trained image generators by name or path."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from ktl.errors import UsageError

if TYPE_CHECKING:
    from ktl.generators.base import ImageGenerator

BUILTIN = "builtin"


def load_generator(source: str) -> ImageGenerator:
    """`builtin` (a StyleGAN2 of 32 x 32 pixels that ships with ktl), the path of a .safetensors that ktl wrote, or
    `diffusers:PATH_OR_ID?option=value&...` (ktl/generators/diffusion_source.py has the options).

    Raises UsageError for anything else, CheckpointError for a damaged file.
    """
    from ktl.generators.stylegan import load_stylegan

    if source.startswith("diffusers:"):
        from ktl.generators.diffusion import load_diffusion

        return load_diffusion(source)
    if source == BUILTIN:
        with as_file(files("ktl.generators") / "weights" / "builtin.safetensors") as path:
            return load_stylegan(path, name=BUILTIN)
    path = Path(source)
    if path.suffix == ".safetensors":
        return load_stylegan(path, name=path.stem)
    raise UsageError(
        f"unknown generator {source!r}: give '{BUILTIN}', the path of a .safetensors that ktl wrote, or "
        "diffusers:FOLDER_OR_ID"
    )
