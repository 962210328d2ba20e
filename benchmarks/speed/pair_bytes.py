"""What an image-vector pair costs on the wire and what is lost: images on contact sheets or not, vectors as int8.

Run: python -m benchmarks.speed.pair_bytes run
     python -m benchmarks.speed.pair_bytes table images pairs

Of 1,024 images that the built-in generator draws: bytes and peak signal-to-noise ratio per image by how it is encoded,
and pairs per megabyte with the errors of their vectors by the version of the payload.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.markdown import markdown
from ktl import load_generator
from ktl.data.transforms import fit_batch
from ktl.generators.base import ImageGenerator, sample_latents
from ktl.pairs import ImageVectorPairs
from ktl.seeds import stream
from ktl.spaces import SPACES, space_of
from ktl.wire import SessionRequest, decode_pairs, encode_pairs
from ktl.wire.contact_sheets import encode_sheet

COUNT, BATCH = 1024, 128
KINDS = {"32 pixels in colour": (32, 3), "28 pixels in grey": (28, 1)}
WAYS = (  # images a file, format, quality
    *((1, "webp", quality) for quality in (80, 60)),
    *((BATCH, "webp", quality) for quality in (80, 60, 55, 40)),
    *((BATCH, "jpeg", quality) for quality in (80, 60)),
    (1, "png", 0),
    (BATCH, "png", 0),
)
MEGABYTE = 1_000_000


def drawn_images(generator: ImageGenerator) -> tuple[Tensor, Tensor]:
    """Latents (COUNT, H) and the images drawn from them, uint8 (COUNT, 3, size, size)."""
    latents = sample_latents(generator, COUNT, stream(0, "bytes a pair"))
    with torch.no_grad():
        return latents, torch.cat([generator.images(batch) for batch in latents.split(BATCH)])


def encoded(images: Tensor, per_file: int, image_format: str, quality: int) -> tuple[float, float]:
    """Bytes per image, and the peak signal-to-noise ratio in decibels, of uint8 images (n, c, size, size)."""
    size, total, squares = images.shape[2], 0, 0.0
    for part in images.permute(0, 2, 3, 1).numpy().reshape(-1, per_file, size, size, images.shape[1]):
        file = encode_sheet(part, image_format, quality)
        total += len(file)
        exact = encode_sheet(part, "png", 0)
        squares += float(((_pixels(file, part.shape[-1]) - _pixels(exact, part.shape[-1])) ** 2).mean())
    mean = squares * per_file / len(images)
    return total / len(images), float(10 * np.log10(255**2 / mean)) if mean else np.inf


def _pixels(file: bytes, channels: int) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as picture:
        return np.asarray(picture.convert("L" if channels == 1 else "RGB"), dtype=np.float64)


def measure_images(size: int, channels: int) -> Row:
    """Bytes and decibels (none if exact) of each of WAYS."""
    torch.set_num_threads(1)
    _, drawn = drawn_images(load_generator("builtin"))
    images = fit_batch(drawn, size, channels)
    found = []
    for per_file, image_format, quality in WAYS:
        count, decibels = encoded(images, per_file, image_format, quality)
        way = {"per_file": per_file, "format": image_format, "quality": quality}
        found.append(way | {"bytes": count, "decibels": None if decibels == np.inf else decibels})
    return {"ways": found}


def measure_pairs(size: int, channels: int, space: str, version: int) -> Row:
    """How many pairs a megabyte holds; the error of vectors, root mean square, as a share of their deviation."""
    torch.set_num_threads(1)
    generator = load_generator("builtin")
    latents, drawn = drawn_images(generator)
    vectors = space_of(generator, SPACES.choose(space)).vectors(latents, drawn)
    request = SessionRequest(10, size, channels, 1000, MEGABYTE, "random", "webp", seed=0, pairs_version=version)
    pairs = ImageVectorPairs(fit_batch(drawn, size, channels), vectors, torch.zeros(COUNT, dtype=torch.int64))
    endless = (pairs[start : start + BATCH] for start in [*range(0, COUNT, BATCH)] * 16)
    payload = encode_pairs(endless, request)
    received = decode_pairs(payload, request, vectors.shape[1])
    first = min(len(received), COUNT)
    error = (received.vectors[:first] - vectors[:first]) / vectors.std(dim=0)
    return {"bytes": len(payload), "pairs": len(received), "error": float(error.square().mean().sqrt())}


def cells(args: argparse.Namespace) -> list[Cell]:
    """Each kind of image; each kind, space and version of the payload."""
    found = [Cell({"measured": "images", "kind": kind}, measure_images, shape) for kind, shape in KINDS.items()]
    for kind, shape in KINDS.items():
        for space in ("latent", "encoder"):
            for version in (1, 2):
                key = {"measured": "pairs", "kind": kind, "space": space, "version_of_payload": version}
                found.append(Cell(key, measure_pairs, (*shape, space, version)))
    return found


def image_table(rows: Sequence[Row]) -> str:
    """A line each of WAYS, two columns per kind of image."""
    of_kind = {row["kind"]: row["ways"] for row in rows if row["measured"] == "images"}
    lines = []
    for ways in zip(*of_kind.values(), strict=True):
        line = [ways[0]["per_file"], ways[0]["format"], ways[0]["quality"] or ""]
        for way in ways:
            line += [f"{way['bytes']:.0f}", "exact" if way["decibels"] is None else f"{way['decibels']:.1f}"]
        lines.append(line)
    headings = [cell for kind in of_kind for cell in (f"{kind}: bytes", "dB")]
    return markdown(["images per file", "format", "quality", *headings], lines)


def pair_table(rows: Sequence[Row]) -> str:
    """A line per kind of image, space and version."""
    lines = []
    for row in rows:
        if row["measured"] == "pairs":
            key = [row["kind"], row["space"], row["version_of_payload"]]
            size = row["bytes"] / row["pairs"]
            lines.append([*key, f"{size:.0f}", f"{row['pairs']:,}", f"{row['error']:.2%}"])
    return markdown(PAIR_COLUMNS, lines)


PAIR_COLUMNS = ["images", "vectors", "version", "bytes per pair", "pairs per MB", "error of vectors, of a deviation"]


def options(runs: argparse.ArgumentParser) -> None:
    """There are none."""


TABLES = {"images": image_table, "pairs": pair_table}

if __name__ == "__main__":
    command_line("speed/pair_bytes", __doc__, options, cells, TABLES)
