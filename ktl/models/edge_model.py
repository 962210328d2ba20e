"""What an edge trains and exports: a feature extractor and its classifier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn

from ktl.errors import UsageError
from ktl.etf import EtfClassifier
from ktl.models import MODELS
from ktl.seeds import initialising, stream


class LinearClassifier(nn.Module):
    """Features (n, feature_dim) -> logits (n, classes): the head that most federated baselines share."""

    def __init__(self, feature_dim: int, classes: int) -> None:
        super().__init__()
        self.projection = nn.Linear(feature_dim, classes)

    def embed(self, features: Tensor) -> Tensor:
        """normalize(logits), (n, classes)."""
        return F.normalize(self.projection(features), dim=1)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.projection(features)
        return logits


class EdgeModel(nn.Module):
    """images (n, channels, size, size) in [-1, 1] -> a score (n, classes) each: cosines with the ETF, or logits."""

    def __init__(self, extractor: nn.Module, classifier: EtfClassifier | LinearClassifier) -> None:
        super().__init__()
        self.extractor = extractor
        self.classifier = classifier

    def embed(self, images: Tensor) -> Tensor:
        """normalize(h(f(images))), (n, K)."""
        return self.classifier.embed(self.extractor(images))

    def forward(self, images: Tensor) -> Tensor:
        cosines: Tensor = self.classifier(self.extractor(images))
        return cosines


def build_model(
    name: str, *, channels: int, image_size: int, classes: int, seed: int, etf_seed: int, head: str = "etf"
) -> EdgeModel:
    """The model `name` of the registry with initial weights from `seed`; edges with one `etf_seed` share the ETF.

    `head` is "etf" or "linear"; raises UsageError for another.
    """
    if head not in ("etf", "linear"):
        raise UsageError(f"unknown head {head!r}: choose one of etf, linear")
    with initialising(seed, "model", name):
        extractor = MODELS.load(name)(channels, image_size)
        if head == "linear":
            return EdgeModel(extractor, LinearClassifier(extractor.feature_dim, classes))
        return EdgeModel(extractor, EtfClassifier(extractor.feature_dim, classes, stream(etf_seed, "etf")))


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Inside, batch normalisation goes by each batch as ever in training, but its running statistics stay."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
