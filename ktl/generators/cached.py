"""Images that a slow generator has drawn once are kept on disk: the same latent is never drawn twice.

One file per image, named by a digest of the generator's fingerprint and the latent in float16, so a later round,
another process or a restarted cloud finds it too. An image drawn in another batch may differ in its last bit; the one
drawn first is the one that is kept.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ktl.errors import CheckpointError
from ktl.files import replace_atomically
from ktl.generators.base import ImageGenerator, stock_of

MAX_BYTES = 2 * 2**30
FAST_SIZE = 32  # pixels: a StyleGAN of this size draws an image in about the time that reading one takes
DRAWN_AT_ONCE = 32  # images: what a stopped process loses at most


class CachedGenerator:
    """An `ImageGenerator` that keeps the images of another one in a folder.

    `folder` is made when first needed and holds at most `max_bytes`: the images used longest ago go first. A damaged
    file is drawn anew; a folder that cannot be written costs the cache, not the images.
    """

    def __init__(self, generator: ImageGenerator, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self.generator = generator
        self.folder = folder
        self.max_bytes = max_bytes
        self.name, self.family, self.licence = generator.name, generator.family, generator.licence
        self.fingerprint = generator.fingerprint
        self.noise_dim, self.latent_dim = generator.noise_dim, generator.latent_dim
        self.image_size, self.parameters = generator.image_size, generator.parameters

    def latents(self, noise: Tensor) -> Tensor:
        """The generator's own."""
        return self.generator.latents(noise)

    def images(self, latents: Tensor) -> Tensor:
        """latents (n, latent_dim) -> uint8 (n, 3, image_size, image_size); only those not kept already are drawn."""
        images = torch.empty(len(latents), 3, self.image_size, self.image_size, dtype=torch.uint8)
        missing: dict[Path, list[int]] = {}  # where each goes: a latent may come twice
        for index, latent in enumerate(latents):
            file = self.folder / f"{self._key(latent)}.png"
            kept = self._read(file)
            if kept is None:
                missing.setdefault(file, []).append(index)
            else:
                images[index] = kept
        files = list(missing)
        for start in range(0, len(files), DRAWN_AT_ONCE):
            part = files[start : start + DRAWN_AT_ONCE]
            drawn = self.generator.images(latents[[missing[file][0] for file in part]])
            for file, image in zip(part, drawn, strict=True):
                images[missing[file]] = image
                self._write(file, image)
        if missing:
            self._make_room()
        return images

    def _key(self, latent: Tensor) -> str:
        content = latent.to(torch.float16).cpu().numpy().tobytes()
        return hashlib.sha256(self.fingerprint.encode() + content).hexdigest()

    def _read(self, file: Path) -> Tensor | None:
        try:
            with Image.open(file, formats=["PNG"]) as image:
                pixels = torch.from_numpy(np.array(image))
            os.utime(file)  # used now
        except Exception:  # it is absent or cut short; Pillow's decoders raise anything
            return None
        expected = (self.image_size, self.image_size, 3)
        return pixels.permute(2, 0, 1) if pixels.shape == expected else None

    def _write(self, file: Path, image: Tensor) -> None:
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        with suppress(OSError, CheckpointError):
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_atomically(file, lambda path: picture.save(path, "PNG", compress_level=1), lasting=False)

    def _make_room(self) -> None:
        with suppress(OSError):  # another process may be removing the same files
            kept = [(entry.stat(), entry.path) for entry in os.scandir(self.folder)]
            kept.sort(key=lambda entry: entry[0].st_mtime)
            excess = sum(stat.st_size for stat, _ in kept) - self.max_bytes
            for stat, path in kept:
                if excess <= 0:
                    break
                os.unlink(path)
                excess -= stat.st_size


def with_cache(generator: ImageGenerator) -> ImageGenerator:
    """A slow `generator` with the user's cache, a quick one as it is."""
    small = generator.family != "diffusion" and generator.image_size <= FAST_SIZE
    if small or stock_of(generator) is not None:  # a stock is in memory
        return generator
    return CachedGenerator(generator, cache_folder())


def cache_folder() -> Path:
    """Where drawn images are kept: `KTL_CACHE`, or ktl/images in the user's cache folder (XDG)."""
    own = os.environ.get("KTL_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ktl" / "images"
