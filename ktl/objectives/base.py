"""One kind of objective: a loss that an edge minimises, with weights of its own if it has any.

The classifier's loss on the shots, the contrasts on generated pairs and what a federated method adds are all written
against this, and so is what other packages bring.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from ktl.models.edge_model import EdgeModel, statistics_kept
from ktl.models.precision import features_in


class Step:
    """One training step as objectives see it: its images, what the model makes of them, and its random stream.

    All of it is drawn and computed when it is first asked for, so a step costs what its objectives need. `rng` is the
    step's stream: what an objective draws from it is the same whenever the run is repeated or resumed.
    """

    def __init__(
        self,
        model: EdgeModel,
        rng: torch.Generator,
        dtype: torch.dtype,
        draw_shots: Callable[[], tuple[Tensor, Tensor]],
        draw_pairs: Callable[[int], tuple[list[Tensor], Tensor]],
        *,
        keeps_statistics: bool,
    ) -> None:
        """`dtype` is what extractors compute in; `keeps_statistics`: pairs leave running statistics as they are."""
        self.model = model
        self.rng = rng
        self._dtype = dtype
        self._draw_shots = draw_shots
        self._draw_pairs = draw_pairs
        self._keeps_statistics = keeps_statistics

    @property
    def images(self) -> Tensor:
        """A random view of the step's shots, float32 (n, channels, size, size) in [-1, 1]."""
        return self._shots[0]

    @property
    def labels(self) -> Tensor:
        """Labels of the step's shots, int64 (n,)."""
        return self._shots[1]

    @cached_property
    def features(self) -> Tensor:
        """Of the step's shots, float32 (n, feature_dim)."""
        return self.features_of(self.model, self.images)

    @cached_property
    def logits(self) -> Tensor:
        """Of the step's shots, float32 (n, classes)."""
        logits: Tensor = self.model.classifier(self.features)
        return logits

    @cached_property
    def classifier_loss(self) -> Tensor:
        """The classifier's own loss on the step's shots, a scalar."""
        return self.model.classifier.loss(self.logits, self.labels)

    def pairs(self, views: int) -> tuple[list[Tensor], Tensor]:
        """Some of the received pairs: the features (n, feature_dim) of each of `views` random views, vectors (n, H)."""
        images, vectors = self._draw_pairs(views)
        if not self._keeps_statistics:
            return [self.features_of(self.model, view) for view in images], vectors
        with statistics_kept(self.model):
            return [self.features_of(self.model, view) for view in images], vectors

    def features_of(self, model: EdgeModel, images: Tensor) -> Tensor:
        """Features of images under any model, computed in the step's arithmetic, float32 (n, feature_dim)."""
        if model is self.model:  # batch normalisation is undefined on one image: it takes running statistics
            model.train(len(images) > 1)
        return features_in(self._dtype, model.extractor, images)

    @cached_property
    def _shots(self) -> tuple[Tensor, Tensor]:
        return self._draw_shots()


class Objective(nn.Module, ABC):
    """A loss at each training step. Its parameters are trained along, and its state is saved with the edge's.

    Tensors that are not trained are registered as buffers, which go to the edge's device with it. Randomness comes from
    `step.rng` alone, so that a resumed run draws the same.
    """

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """The scalar to minimise at this step."""


class ClassifierLoss(Objective):
    """The classifier's own loss on the shots: what every edge minimises."""

    def forward(self, step: Step) -> Tensor:
        return step.classifier_loss
