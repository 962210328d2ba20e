"""Objectives on image-vector pairs: what an edge's feature extractor learns from a cloud's generated images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from torch import Tensor

from ktl.objectives.base import Objective, Step
from ktl.settings import Meta, Settings


@dataclass(frozen=True)
class TransferSettings(Settings):
    """When and how strongly an edge learns from pairs; objectives add what is their own."""

    warmup_steps: (
        Annotated[int, Meta(ge=0, le=10**7, description="Steps on the pairs alone, before the shots.")] | None
    ) = None  # by the number of classes if None
    warmup_batch: Annotated[int, Meta(ge=1, le=10**6, description="Pairs per warm-up step.")] | None = (
        None  # by classes and colour if None
    )
    joint_batch: Annotated[int, Meta(ge=0, le=10**6, description="Pairs beside each batch of shots; 0: none.")] = 64
    weight: Annotated[float, Meta(ge=0, description="Of the pairs' loss beside the shots' (the paper's mu).")] = 1.0
    learning_rate: Annotated[float, Meta(gt=0, description="In the warm-up.")] = 1e-3
    body_rate: Annotated[
        float, Meta(ge=0, description="Learning rate of the extractor on the shots, relative to the head's.")
    ] = 1.0
    anew_each_round: Annotated[
        bool, Meta(description="Start the objective's weights anew and drop earlier pairs in each round.")
    ] = False


class PairObjective(Objective):
    """Learns from random views of generated images and their vectors; its own heads sit on the edge's extractor.

    A subclass gives `loss`, and `views` and `Settings` where they differ.
    """

    views: ClassVar[int] = 1  # random views of each image that `loss` takes
    Settings: ClassVar[type[TransferSettings]] = TransferSettings

    def __init__(self, feature_dim: int, vectors: Tensor, settings: Any) -> None:
        """vectors (n, H): all that were downloaded, for their statistics; settings: an instance of `Settings`."""
        super().__init__()

    @abstractmethod
    def loss(self, views: Sequence[Tensor], vectors: Tensor) -> Tensor:
        """The features (n, feature_dim) of each view and the vectors (n, H), in the same order -> scalar."""

    def forward(self, step: Step) -> Tensor:
        """`loss` of the pairs that the step draws."""
        return self.loss(*step.pairs(self.views))


def checked(name: str, loaded: Any) -> Any:
    """What a registry loaded for `name`. Raises UsageError unless it is a PairObjective class."""
    from ktl.registry import subclass

    return subclass(PairObjective, "transfer")(name, loaded)
