"""An edge's own classifier together with what all edges know of the classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ktl.shared_space.space_map import SpaceMap

ABSENT = 0.1  # images that a class counts as in an edge's class frequencies, beside those that it has


class PooledModel(nn.Module):
    """images (n, channels, size, size) in [-1, 1] -> logits (n, classes).

    The log-probabilities of the edge's own classifier, `weight` times the scores that class statistics of all edges
    give to the features' points in the shared space, and `prior` times the log of the edge's own class frequencies.
    """

    log_frequencies: Tensor

    def __init__(
        self,
        extractor: nn.Module,
        classifier: nn.Module,
        space_map: SpaceMap,
        scores: nn.Linear,
        counts: Tensor,
        *,
        weight: float,
        prior: float,
    ) -> None:
        """`scores` is a `discriminant`; counts (classes,): the edge's training images of each class."""
        super().__init__()
        self.extractor = extractor
        self.classifier = classifier
        self.space_map = space_map
        self.scores = scores
        self.weight = weight
        self.prior = prior
        counted = counts.float() + ABSENT
        self.register_buffer("log_frequencies", torch.log(counted / counted.sum()))

    def forward(self, images: Tensor) -> Tensor:
        features = self.extractor(images)
        own: Tensor = self.classifier(features).log_softmax(dim=1)
        pooled: Tensor = self.weight * self.scores(self.space_map(features))
        return own + pooled + self.prior * self.log_frequencies
