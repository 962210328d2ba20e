"""What an edge trains and exports: a feature extractor and its ETF classifier."""

from __future__ import annotations

from torch import Tensor, nn

from ktl.etf import EtfClassifier
from ktl.models import MODELS
from ktl.seeds import initialising, stream


class EdgeModel(nn.Module):
    """images (n, channels, size, size) in [-1, 1] -> cosines (n, classes) with the ETF's vectors."""

    def __init__(self, extractor: nn.Module, classifier: EtfClassifier) -> None:
        super().__init__()
        self.extractor = extractor
        self.classifier = classifier

    def embed(self, images: Tensor) -> Tensor:
        """normalize(h(f(images))), (n, K)."""
        return self.classifier.embed(self.extractor(images))

    def forward(self, images: Tensor) -> Tensor:
        cosines: Tensor = self.classifier(self.extractor(images))
        return cosines


def build_model(name: str, *, channels: int, image_size: int, classes: int, seed: int, etf_seed: int) -> EdgeModel:
    """The model `name` of the registry with initial weights from `seed`; edges with one `etf_seed` share the ETF."""
    with initialising(seed, "model", name):
        extractor = MODELS.load(name)(channels, image_size)
        classifier = EtfClassifier(extractor.feature_dim, classes, stream(etf_seed, "etf"))
    return EdgeModel(extractor, classifier)
