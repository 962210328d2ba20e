"""Trained extractors that ship with ktl: what a cloud sends an edge to begin with, a warm start."""

from __future__ import annotations

from importlib.resources import files


def shipped_name(model: str, channels: int, image_size: int) -> str:
    """Of the file with the warm start of an architecture."""
    return f"{model}-{channels}x{image_size}.safetensors"


def shipped_extractor(model: str, channels: int, image_size: int) -> bytes | None:
    """The warm start, as it goes over the wire, of an architecture for square images; None where none ships."""
    file = files("ktl.models") / "weights" / shipped_name(model, channels, image_size)
    return file.read_bytes() if file.is_file() else None
