"""What an image-vector pair costs on the wire and what is lost: images on contact sheets or not, vectors as int8.

Run: python benchmarks/pair_bytes.py

Prints two tables, of 1,024 images that the built-in generator draws: bytes and peak signal-to-noise ratio an image by
how it is encoded, and pairs a megabyte with the errors of their vectors by the version of the payload.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

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
    """Bytes an image, and the peak signal-to-noise ratio in decibels, of uint8 images (n, c, size, size)."""
    size, total, squares = images.shape[2], 0, 0.0
    for part in images.permute(0, 2, 3, 1).numpy().reshape(-1, per_file, size, size, images.shape[1]):
        file = encode_sheet(part, image_format, quality)
        total += len(file)
        exact = encode_sheet(part, "png", 0)
        squares += float(((_pixels(file, part.shape[-1]) - _pixels(exact, part.shape[-1])) ** 2).mean())
    mean = squares * per_file / len(images)
    return total / len(images), 10 * np.log10(255**2 / mean) if mean else np.inf


def _pixels(file: bytes, channels: int) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as picture:
        return np.asarray(picture.convert("L" if channels == 1 else "RGB"), dtype=np.float64)


def image_table(images: Tensor) -> Iterable[str]:
    """A line each of WAYS."""
    yield "| images a file | format | quality | " + " | ".join(f"{kind}: bytes | dB" for kind in KINDS) + " |"
    yield "|---" * (3 + 2 * len(KINDS)) + "|"
    fitted = [fit_batch(images, size, channels) for size, channels in KINDS.values()]
    for per_file, image_format, quality in WAYS:
        measured = [encoded(each, per_file, image_format, quality) for each in fitted]
        cells = " | ".join(f"{size:.0f} | {'exact' if ratio == np.inf else f'{ratio:.1f}'}" for size, ratio in measured)
        yield f"| {per_file} | {image_format} | {quality or ''} | {cells} |"


def pair_table(generator: ImageGenerator, latents: Tensor, images: Tensor) -> Iterable[str]:
    """A line per kind of image, space and version."""
    yield "| images | vectors | version | bytes a pair | pairs a MB | error of vectors, of a deviation |"
    yield "|---" * 6 + "|"
    for kind, (size, channels) in KINDS.items():
        fitted = fit_batch(images, size, channels)
        for name in ("latent", "encoder"):
            vectors = space_of(generator, SPACES.choose(name)).vectors(latents, images)
            for version in (1, 2):
                request = SessionRequest(
                    10, size, channels, 1000, MEGABYTE, "random", "webp", seed=0, pairs_version=version
                )
                pairs = ImageVectorPairs(fitted, vectors, torch.zeros(COUNT, dtype=torch.int64))
                endless = (pairs[start : start + BATCH] for start in [*range(0, COUNT, BATCH)] * 16)
                payload = encode_pairs(endless, request)
                received = decode_pairs(payload, request, vectors.shape[1])
                first = min(len(received), COUNT)
                error = (received.vectors[:first] - vectors[:first]) / vectors.std(dim=0)
                yield (
                    f"| {kind} | {name} | {version} | {len(payload) / len(received):.0f} | {len(received):,} "
                    f"| {error.square().mean().sqrt():.2%} |"
                )


def main() -> None:
    torch.set_num_threads(1)
    generator = load_generator("builtin")
    latents, images = drawn_images(generator)
    for line in (*image_table(images), "", *pair_table(generator, latents, images)):
        print(line)


if __name__ == "__main__":
    main()
