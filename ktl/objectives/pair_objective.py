"""Objectives on image-vector pairs: what an edge's feature extractor learns from a cloud's generated images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from ktl.objectives.base import Objective, Step
from ktl.objectives.settings import TransferSettings
from ktl.pairs import ImageVectorPairs
from ktl.registry import subclass


class PairObjective(Objective):
    """Learns from random views of generated images and their vectors; its own heads sit on the edge's extractor.

    A subclass gives `loss`, and `views` and `Settings` where they differ. Its `self.settings` are an instance of
    `Settings`. Weights of its own are made in its constructor, after `super().__init__(...)`: they are drawn by the
    run's seed, trained along, and saved with the edge.
    """

    views: ClassVar[int] = 1  # random views of each image that `loss` takes
    Settings: ClassVar[type[TransferSettings]] = TransferSettings

    def __init__(self, feature_dim: int, vectors: Tensor, settings: Any) -> None:
        """vectors (n, H): all that were downloaded, for their statistics; settings: an instance of `Settings`."""
        super().__init__()
        self.settings = settings

    @classmethod
    def on(cls, pairs: ImageVectorPairs, feature_dim: int, settings: Any) -> PairObjective:
        """The objective for what was downloaded first; one that takes metric vectors otherwise says so here."""
        return cls(feature_dim, pairs.vectors, settings)

    @abstractmethod
    def loss(self, views: Sequence[Tensor], vectors: Tensor) -> Tensor:
        """The features (n, feature_dim) of each view and the vectors (n, H), in the same order -> scalar."""

    def forward(self, step: Step) -> Tensor:
        """`loss` of the pairs that the step draws."""
        return self.loss(*step.pairs(self.views))


checked = subclass(PairObjective, "transfer")
