"""Pre-trained image encoders by name, file or `module:Class`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ktl.errors import UsageError
from ktl.registry import Registry, is_import_path

if TYPE_CHECKING:
    from ktl.encoders.base import Encoder

BUILTIN = "builtin"
TORCHVISION = "torchvision"
TIMM = "timm"

ENCODERS = Registry(
    "encoder",
    "ktl.encoders",
    {
        BUILTIN: ("ktl.encoders.small:load_builtin", "a small residual network that ships with ktl"),
        TORCHVISION: (
            "ktl.encoders.pretrained:load_torchvision",
            "a pre-trained classifier of torchvision, as torchvision:NAME or torchvision:NAME?FILE",
        ),
        TIMM: ("ktl.encoders.pretrained:load_timm", "a pre-trained network of timm, as timm:NAME or timm:NAME?FILE"),
    },
    adapt="ktl.encoders.base:checked_class",
)


def load_encoder(source: str) -> Encoder:
    """`builtin` (a small residual network that ships with ktl), the path of a .safetensors that `ktl encoder train`
    wrote, `torchvision:NAME[?FILE]`, `timm:NAME[?FILE]` (FILE: a state dict, in place of a download), a name that
    another package registers under the entry points `ktl.encoders`, or `module:Class`.

    A class is made as `Class()`. Raises UsageError for another source and for a class that is no `Encoder`;
    CheckpointError for weights that are damaged, missing or another network's.
    """
    kind, _, location = source.partition(":")
    if kind not in ENCODERS.builtin() and (source in ENCODERS.names() or is_import_path(source)):
        from ktl.encoders.base import checked_encoder

        return checked_encoder(source, ENCODERS.load(source)())
    encoder: Encoder
    if source == BUILTIN:
        encoder = ENCODERS.load(BUILTIN)()
    elif kind in (TORCHVISION, TIMM):
        encoder = ENCODERS.load(kind)(location)
    else:
        encoder = _load_file(source)
    return encoder


def _load_file(source: str) -> Encoder:
    path = Path(source)
    if path.suffix == ".safetensors":
        from ktl.encoders.small import load_small_encoder

        return load_small_encoder(path, name=path.stem)
    others = [repr(name) for name in ENCODERS.names() if name not in ENCODERS.builtin()]
    raise UsageError(
        f"unknown encoder {source!r}: give '{BUILTIN}', the path of a .safetensors that ktl wrote, {TORCHVISION}:NAME, "
        f"{TIMM}:NAME, {''.join(f'{name}, ' for name in others)}or module:Class"
    )
