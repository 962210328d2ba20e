"""The range of values that deep pictures (16-bit, 32-bit, float) are read by, measured on a training's images."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from ktl.data.reading import EARLIER_RANGES, FORMATS, Pixels, Ranges, depth_of, finite_pixels, open_picture, value_range
from ktl.errors import DataError

SAMPLE = 100_000  # pixels of a picture, at most
FEW_LEVELS = 64  # of 256


def measured_ranges(files: Iterable[Path]) -> Ranges:
    """By depth, the values that become 0 and 255, so that all pictures are read alike; empty without deep pictures.

    Raises DataError, naming the file, for a deep picture that cannot be read.
    """
    samples: dict[str, list[Pixels]] = {}
    for file in files:
        if not _is_deep(file):
            continue
        try:
            with open_picture(file) as image:
                depth, values = depth_of(image), finite_pixels(image).ravel()
        except ValueError as error:
            raise DataError(f"cannot read the image {file}: {error}; remove or replace it") from error
        if depth is not None:
            samples.setdefault(depth, []).append(values[:: max(1, len(values) // SAMPLE)])
    return {
        depth: value_range(np.concatenate(parts), whole=depth != "float") for depth, parts in sorted(samples.items())
    }


def described(ranges: Ranges) -> list[str]:
    """A line for each depth of measured ranges; one with few levels left says so."""
    lines: list[str] = []
    if ranges == EARLIER_RANGES:
        return lines
    for depth, limits in ranges.items():
        if limits is None:
            continue
        low, high = limits
        line = f"{depth} pictures: values {low:,.6g} to {high:,.6g}, as in the shots, are read as 0 to 255"
        levels = min(256, round(high - low) + 1)
        if depth != "float" and levels < FEW_LEVELS:
            line += f"; warning: only {levels} levels of brightness are left, record a wider range of values"
        lines.append(line)
    return lines


def _is_deep(file: Path) -> bool:
    """By its header; what cannot be opened is left to whoever reads it."""
    with suppress(Exception), Image.open(file, formats=FORMATS) as image:
        return depth_of(image) is not None
    return False
