"""What an edge trains and exports: a feature extractor and its classifier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ktl.models import MODELS
from ktl.models.classifiers import Classifier, EtfClassifier, LinearClassifier
from ktl.models.settings import ClassifierSettings
from ktl.seeds import initialising, stream

ClassifierKind = type[EtfClassifier] | type[LinearClassifier]
CLASSIFIERS: dict[str, ClassifierKind] = {"etf": EtfClassifier, "linear": LinearClassifier}


class EdgeModel(nn.Module):
    """images (n, channels, size, size) in [-1, 1] -> logits (n, classes).

    `origin` says in a line what pre-trained weights the extractor started from; empty if from none. While `pretrained`,
    batch normalisation goes by its running statistics in training too: few shots would replace better ones.
    """

    def __init__(self, extractor: nn.Module, classifier: Classifier, origin: str = "") -> None:
        super().__init__()
        self.origin = origin
        self.pretrained = False
        self.extractor = extractor
        self.classifier = classifier

    def train(self, mode: bool = True) -> EdgeModel:
        """As torch's, but for batch normalisation while `pretrained`."""
        super().train(mode)
        if self.pretrained:
            for norm in _batch_norms(self):
                norm.eval()
        return self

    def embed(self, images: Tensor) -> Tensor:
        """normalize(h(f(images))), (n, K)."""
        return self.classifier.embed(self.extractor(images))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.extractor(images))
        return logits


def build_model(
    name: str,
    *,
    channels: int,
    image_size: int,
    classes: int,
    seed: int,
    etf_seed: int,
    settings: ClassifierSettings = ClassifierSettings(),
    classifier: ClassifierKind = EtfClassifier,
    weights: str | None = None,
    trained: bool = False,
) -> EdgeModel:
    """The model `name` of the registry with initial weights from `seed`; edges with one `etf_seed` share the ETF.

    With `weights` ("default" or a file) its extractor takes those, and images as they know them. A model whose weights
    will all be replaced (`trained`) gets the form without reading them. Raises what `start_from` raises.
    """
    with initialising(seed, "model", name):
        # pre-trained networks see grey images in three channels
        extractor = MODELS.load(name)(channels if weights is None else 3, image_size)
        head = classifier(extractor.feature_dim, classes, settings, stream(etf_seed, "etf"))
    if weights is None:
        return EdgeModel(extractor, head)
    from ktl.models.initial_weights import start_from  # imports torchvision, which most models do without

    return EdgeModel(extractor, head, start_from(weights, extractor, name, trained=trained))


def extractor_weights(name: str, channels: int, image_size: int) -> dict[str, Tensor]:
    """What the state of an extractor of the registry looks like: names, shapes and types, on the device "meta"."""
    with torch.device("meta"):
        return dict(MODELS.load(name)(channels, image_size).state_dict())


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Inside, batch normalisation goes by each batch as ever in training, but its running statistics stay."""
    norms = _batch_norms(model)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
