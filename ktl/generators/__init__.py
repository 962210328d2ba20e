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
    """`builtin` (a StyleGAN2 of 32 x 32 pixels that ships with ktl) or the path of a file.

    That is a .safetensors that ktl wrote, or an official StyleGAN: its .pkl (the network G_ema) or an .npz of arrays.
    Raises UsageError for anything else, CheckpointError for a damaged file.
    """
    from ktl.generators.stylegan import load_stylegan

    if source == BUILTIN:
        with as_file(files("ktl.generators") / "weights" / "builtin.safetensors") as path:
            return load_stylegan(path, name=BUILTIN)
    path = Path(source)
    if path.suffix == ".safetensors":
        return load_stylegan(path, name=path.stem)
    if path.suffix in (".pkl", ".npz"):
        from ktl.generators.official import load_official

        return load_official(path)
    raise UsageError(
        f"unknown generator {source!r}: give '{BUILTIN}' or the path of a .safetensors that ktl wrote, "
        "or of an official StyleGAN's .pkl"
    )
