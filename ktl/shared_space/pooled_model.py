"""An edge's own classifier together with what all edges know of the classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ktl.class_statistics import ClassStatistics
from ktl.shared_space.discriminant import discriminant
from ktl.shared_space.space_map import SpaceMap

ABSENT = 0.1  # images that a class counts as in an edge's class frequencies, beside those that it has


class PooledModel(nn.Module):
    """images (n, channels, size, size) in [-1, 1] -> logits (n, classes).

    The sum of three: the scores that class statistics of all edges give to the features' points in the shared space;
    the log-probabilities of the edge's own classifier, times `own` and the edge's share of the images behind the
    statistics, so that it says the more the less others know; the log of the edge's class frequencies, times `prior`.
    """

    log_frequencies: Tensor

    def __init__(
        self,
        extractor: nn.Module,
        classifier: nn.Module,
        space_map: SpaceMap,
        statistics: ClassStatistics,
        counts: Tensor,
        *,
        own: float,
        prior: float,
    ) -> None:
        """counts (classes,): the edge's training images of each class, at least one in all."""
        super().__init__()
        self.extractor = extractor
        self.classifier = classifier
        self.space_map = space_map
        self.scores = discriminant(statistics, len(counts))
        self.own = own * share_of(counts, statistics)
        self.prior = prior
        counted = counts.float() + ABSENT
        self.register_buffer("log_frequencies", torch.log(counted / counted.sum()))

    def forward(self, images: Tensor) -> Tensor:
        features = self.extractor(images)
        own: Tensor = self.classifier(features).log_softmax(dim=1)
        pooled: Tensor = self.scores(self.space_map(features))
        return pooled + self.own * own + self.prior * self.log_frequencies


def share_of(counts: Tensor, statistics: ClassStatistics) -> float:
    """An edge's share of the pooled images of a class, 0..1, at the mean over the edge's images."""
    pooled = torch.zeros(len(counts)).index_copy(0, statistics.classes, statistics.counts.float())
    shares = counts / pooled.maximum(counts.float()).clamp_min(1.0)  # what it just learnt may not be in the sum
    return float((counts * shares).sum() / counts.sum())
