"""How a cloud trains a warm start. Nothing here imports torch: the command line reads it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ktl.settings import Meta, Settings

IMAGES = 100_000


@dataclass(frozen=True)
class Architecture:
    """Of an extractor: a name of the registry of models, and the images that it takes, 1 or 3 channels."""

    model: str
    channels: int
    image_size: int  # pixels, square


@dataclass(frozen=True)
class WarmStartConfig(Settings):
    """What a warm start is made with, beside its architecture, generator and space: equal ones give equal bytes.

    Without a number of images the one that is ready is taken, and where there is none it is made with `IMAGES`.
    """

    images: Annotated[int, Meta(ge=2, le=10**8, description="Fresh images to train on.")] | None = None
    passes: Annotated[int, Meta(ge=1, le=10_000, description="Times that each image is shown.")] = 10
    chunk: Annotated[int, Meta(ge=2, le=10**6, description="Images that are drawn, and held, at once.")] = 10_000
    batch: Annotated[int, Meta(ge=2, le=10**6, description="Images per step.")] = 256
    learning_rate: Annotated[float, Meta(gt=0, le=1, description="AdamW's, at the one-cycle's peak.")] = 1e-3
    seed: Annotated[int, Meta(ge=0, lt=2**31, description="Seed of every random choice.")] = 0
