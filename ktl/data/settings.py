"""Which images an edge learns from, and how a federation shares them out. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from ktl.errors import UsageError
from ktl.settings import Settings

ALL, UP_TO = "all", "up to "  # of shots
MIN_SIDE = 4  # pixels; a smaller image is a placeholder, not a photograph

Source = Annotated[str, Meta(description="A data set's name, a folder, an .npz file, or module:function.")]
ImageSize = Annotated[
    int, Meta(ge=MIN_SIDE, description="Pixels, square; the data's own if none (folders: 32, or 64 for one edge).")
]
Fit = Literal["crop", "pad", "stretch"]
HowToFit = Annotated[Fit, Meta(description="How a photograph becomes square: crop its middle, pad or stretch it.")]
SkipDamaged = Annotated[bool, Meta(description="Leave unreadable files of a folder out.")]


@dataclass(frozen=True)
class DataConfig(Settings):
    """Which images, and how many of them are labelled."""

    source: Source = "fashion-mnist"
    shots: Annotated[int | str, Meta(description="Labelled images per class: a number, 'all', or 'up to 20'.")] = 2
    ways: Annotated[int, Meta(ge=2, description="Classes, drawn by seed; all of them if none.")] | None = None
    image_size: ImageSize | None = None
    skip_damaged: SkipDamaged = False
    fit: HowToFit = "crop"
    client: Annotated[int, Meta(ge=0, description="Of a saved partition: whose images.")] | None = None
    classes: (
        Annotated[
            tuple[str, ...],
            Meta(description="All classes in their order, where the source has some of them; its own if none."),
        ]
        | None
    ) = None

    def __post_init__(self) -> None:
        super().__post_init__()
        shots = ALL if self.client is not None else checked_shots(self.shots)  # a client learns from all of its images
        object.__setattr__(self, "shots", shots)


def checked_shots(shots: int | str) -> int | str:
    """A number of at least 1, "all" or "up to N" as settings keep it. Raises UsageError for anything else."""
    text = " ".join(str(shots).casefold().split())
    number = text.removeprefix(UP_TO)
    if text == ALL:
        return ALL
    if not number.isdecimal() or int(number) < 1:
        raise UsageError(f"shots is {shots!r}: give a whole number of at least 1, '{ALL}' or '{UP_TO}20'")
    return int(number) if number == text else f"{UP_TO}{int(number)}"


def most_shots(shots: int | str) -> int | None:
    """How many images of a class are taken at most, of shots that are checked; None: all of them."""
    return None if shots == ALL else int(str(shots).removeprefix(UP_TO))


@dataclass(frozen=True)
class PartitionConfig(Settings):
    """How a data set is shared out to the clients of a federation."""

    kind: Annotated[
        Literal["dirichlet", "pathological", "iid", "shots"],
        Meta(description="How images are shared out."),
    ] = "dirichlet"
    clients: Annotated[int, Meta(ge=1, description="How many clients.")] = 20
    beta: Annotated[float, Meta(gt=0, description="For dirichlet: a smaller value is more uneven.")] = 0.1
    classes_per_client: Annotated[int, Meta(ge=1, description="For pathological: classes of each client.")] = 2
    shots: Annotated[int, Meta(ge=1, description="For shots: training images per class and client.")] = 2
