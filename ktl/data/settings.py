"""Which images an edge learns from, and how a federation shares them out. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from ktl.settings import Settings

MIN_SIDE = 4  # pixels; a smaller image is a placeholder, not a photograph

Source = Annotated[str, Meta(description="A data set's name, a folder, an .npz file, or module:function.")]
ImageSize = Annotated[int, Meta(ge=MIN_SIDE, description="Pixels, square; the data's own if none (32 for folders).")]
SkipDamaged = Annotated[bool, Meta(description="Leave unreadable files of a folder out.")]


@dataclass(frozen=True)
class DataConfig(Settings):
    """Which images, and how many of them are labelled."""

    source: Source = "fashion-mnist"
    shots: Annotated[int, Meta(ge=1, description="Labelled images per class.")] = 2
    ways: Annotated[int, Meta(ge=2, description="Classes, drawn by seed; all of them if none.")] | None = None
    image_size: ImageSize | None = None
    skip_damaged: SkipDamaged = False


@dataclass(frozen=True)
class PartitionConfig(Settings):
    """How a data set is shared out to the clients of a federation."""

    kind: Annotated[
        Literal["dirichlet", "pathological", "iid", "shots"],
        Meta(description="How images are shared out."),
    ] = "dirichlet"
    clients: Annotated[int, Meta(ge=1, description="How many clients.")] = 20
    beta: Annotated[float, Meta(gt=0, description="Of dirichlet: less is more uneven.")] = 0.1
    classes_per_client: Annotated[int, Meta(ge=1, description="Of pathological.")] = 2
    shots: Annotated[int, Meta(ge=1, description="Of shots: training images per class and client.")] = 2
