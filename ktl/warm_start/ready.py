"""Warm starts that are ready: files by architecture, in the user's folder or shipped with ktl."""

from __future__ import annotations

import os
from pathlib import Path

from ktl.models.shipped import shipped_extractor, shipped_name
from ktl.warm_start.settings import Architecture


def ready_name(wanted: Architecture) -> str:
    """Of the file with an architecture's warm start."""
    return shipped_name(wanted.model, wanted.channels, wanted.image_size)


def ready_payload(wanted: Architecture, folder: Path) -> bytes | None:
    """The warm start in `folder`, or else the one that ships; None where there is neither."""
    own = folder / ready_name(wanted)
    if own.is_file():
        return own.read_bytes()
    return shipped_extractor(wanted.model, wanted.channels, wanted.image_size)


def cache_folder() -> Path:
    """`KTL_WARM_STARTS`, or ktl/warm-starts in the user's cache folder (XDG)."""
    own = os.environ.get("KTL_WARM_STARTS")
    return (
        Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ktl" / "warm-starts"
    )
