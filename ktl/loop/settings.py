"""What an edge asks of a cloud, and where that cloud is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ktl.alignment import ALIGNMENTS
from ktl.errors import UsageError
from ktl.generators import BUILTIN, resolved
from ktl.protocol import MAX_ROUNDS
from ktl.registry import Choice
from ktl.settings import Meta, Settings
from ktl.spaces import SPACES

MIN_DOWNLOAD = 20_000  # bytes per round: a session's opening and a few pairs


@dataclass(frozen=True)
class CloudConfig(Settings):
    """What is asked of the cloud. `generator` and `alignment` may be given by their names alone."""

    generator: Choice | str = BUILTIN
    alignment: Choice | str = "robust"
    pairs_per_class: (
        Annotated[int, Meta(ge=1, le=1000, description="Most image-vector pairs per class and round.")] | None
    ) = None  # by classes and colour if None
    download_budget: Annotated[
        int, Meta(ge=MIN_DOWNLOAD, description="Most bytes down, over all rounds; sets how many pairs come.")
    ] = 1_430_000  # the published scheme's for 100 classes, as raw floats
    image_format: Literal["webp", "png"] = "webp"
    memory: Annotated[
        int, Meta(ge=1, le=MAX_ROUNDS, description="Rounds for which a client's class statistics count.")
    ] = MAX_ROUNDS
    space: Choice | str | None = None  # what pairs' vectors are; by the size of the latents if None
    warm_start_images: (
        Annotated[int, Meta(ge=2, le=10**8, description="That a cloud in this process trains a warm start on.")] | None
    ) = None  # the warm start that is ready; where there is none, 100,000 images
    url: str | None = None  # of a cloud elsewhere, whose generator it is then; in this process if None
    session: str | None = None  # there, of several edges, by its name; one of this run's own if None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "generator", resolved(self.generator))
        object.__setattr__(self, "alignment", ALIGNMENTS.resolve(self.alignment))
        if self.space is not None:
            object.__setattr__(self, "space", SPACES.resolve(self.space))


@dataclass(frozen=True)
class SessionTerms(Settings):
    """What all edges of a session keep to."""

    rounds: Annotated[int, Meta(ge=1, le=MAX_ROUNDS, description="Times that all learn and pool.")] = 5
    image_size: Annotated[int, Meta(ge=4, le=1024, description="Pixels, square, of all images.")] = 64
    grey: Annotated[bool, Meta(description="All images are grey, not in colour.")] = False
    download_budget: Annotated[int, Meta(ge=MIN_DOWNLOAD, description="Bytes per round and edge.")] = 143_000
    alignment: Annotated[str, Meta(description="pooled: pairs are drawn around what the edges have pooled.")] = "pooled"
    pairs_per_class: Annotated[int, Meta(ge=1, le=1000, description="Most per round.")] | None = None
    warm_starts: Annotated[
        str, Meta(description="Models that may begin with the cloud's extractor, with commas between.")
    ] = ""
    seed: Annotated[int, Meta(ge=0, lt=2**31, description="Of every random choice.")] = 0


def check_budget(budget: int, rounds: int) -> None:
    """Raises UsageError for a download budget that leaves a round too few bytes for its opening and a few pairs."""
    if budget < MIN_DOWNLOAD * rounds:
        raise UsageError(f"download_budget is {budget}: give at least {MIN_DOWNLOAD * rounds:,} bytes")
