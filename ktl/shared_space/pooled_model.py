"""What an edge knows of its classes by itself, together with what all edges know of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ktl.class_statistics import ClassStatistics, class_statistics
from ktl.shared_space.discriminant import discriminant
from ktl.shared_space.space_map import SpaceMap

ABSENT = 0.1  # images that a class counts as in an edge's class frequencies, beside those that it has
OWN_SHRINKAGE = 0.5  # of the discriminant in the edge's own features, which were trained on the very same images


class PooledModel(nn.Module):
    """images (n, channels, size, size) in [-1, 1] -> logits (n, classes).

    With s, the edge's share of the images behind the pooled statistics: 1 - s times the scores that those give to the
    features' points in the shared space; s times what the edge knows by itself, the log-probabilities of its classifier
    and the scores of a discriminant in its own features; and the log of its class frequencies. So an edge goes by
    itself the more the less others know.
    """

    log_frequencies: Tensor

    def __init__(
        self,
        extractor: nn.Module,
        classifier: nn.Module,
        space_map: SpaceMap,
        statistics: ClassStatistics,
        features: Tensor,
        labels: Tensor,
        num_classes: int,
    ) -> None:
        """features (n, F) and labels (n,) int64 of the edge's training images, n >= 1."""
        super().__init__()
        counts = labels.bincount(minlength=num_classes)
        self.extractor = extractor
        self.classifier = classifier
        self.space_map = space_map
        self.pooled_scores = discriminant(statistics, num_classes)
        self.own_scores = discriminant(class_statistics(features, labels), num_classes, OWN_SHRINKAGE)
        self.share = share_of(counts, statistics)
        counted = counts.float() + ABSENT
        self.register_buffer("log_frequencies", torch.log(counted / counted.sum()))

    def forward(self, images: Tensor) -> Tensor:
        features = self.extractor(images)
        pooled: Tensor = self.pooled_scores(self.space_map(features))
        own: Tensor = self.own_scores(features) + self.classifier(features).log_softmax(dim=1)
        return (1 - self.share) * pooled + self.share * own + self.log_frequencies


def share_of(counts: Tensor, statistics: ClassStatistics) -> float:
    """An edge's share of the pooled images of a class, 0..1, at the mean over the edge's images.

    counts (classes,) int64: the edge's images of each class, at least one in all.
    """
    pooled = torch.zeros(len(counts)).index_copy(0, statistics.classes, statistics.counts.float())
    shares = counts / pooled.maximum(counts.float()).clamp_min(1.0)  # what it just learnt may not be in the sum
    return float((counts * shares).sum() / counts.sum())
