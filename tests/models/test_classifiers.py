"""Classifiers, each with its own loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ktl.errors import UsageError
from ktl.etf import arcface_loss
from ktl.models.classifiers import EtfClassifier, LinearClassifier
from ktl.models.settings import ClassifierSettings
from ktl.seeds import stream

SETTINGS = ClassifierSettings(scale=16.0, margin=0.3, smoothing=0.2)
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(6, 16, generator=stream(0, "features"))


def test_the_etf_classifier_scales_cosines_and_learns_only_its_projection(features: torch.Tensor) -> None:
    classifier = EtfClassifier(16, 4, SETTINGS, stream(0, "etf"))
    embedded = classifier.embed(features)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(classifier(features), 16.0 * embedded @ classifier.etf)
    assert {name for name, _ in classifier.named_parameters()} == {"projection.weight", "projection.bias"}


def test_the_etf_classifier_is_trained_with_arcface(features: torch.Tensor) -> None:
    classifier = EtfClassifier(16, 4, SETTINGS, stream(0, "etf"))
    cosines = classifier.embed(features) @ classifier.etf
    expected = arcface_loss(cosines, LABELS, margin=0.3, scale=16.0, smoothing=0.2)
    torch.testing.assert_close(classifier.loss(classifier(features), LABELS), expected)


def test_the_linear_classifier_is_trained_with_cross_entropy(features: torch.Tensor) -> None:
    classifier = LinearClassifier(16, 4, SETTINGS)
    logits = features @ classifier.projection.weight.T + classifier.projection.bias
    torch.testing.assert_close(classifier(features), logits)
    expected = F.cross_entropy(logits, LABELS, label_smoothing=0.2)
    torch.testing.assert_close(classifier.loss(classifier(features), LABELS), expected)


@pytest.mark.parametrize("kind", [EtfClassifier, LinearClassifier])
def test_it_can_start_at_the_class_means(kind: type[EtfClassifier | LinearClassifier], features: torch.Tensor) -> None:
    classifier = kind(16, 4, SETTINGS, stream(0, "etf"))
    means = F.normalize(torch.randn(4, 16, generator=stream(0, "means")), dim=1)
    means[2] = 0.0  # a class without an image
    classifier.start_at(means)
    nearness = features @ means.T
    assert torch.equal(classifier(features).argsort(dim=1), nearness.argsort(dim=1))


@pytest.mark.parametrize("kind", [EtfClassifier, LinearClassifier])
def test_a_balanced_loss_is_the_mean_over_classes_of_their_mean_losses(
    kind: type[EtfClassifier | LinearClassifier], features: torch.Tensor
) -> None:
    classifier = kind(16, 4, SETTINGS, stream(0, "etf"))
    labels = torch.tensor([0, 0, 0, 0, 1, 3])  # none of class 2
    logits = classifier(features)
    by_class = torch.stack([classifier.loss(logits[labels == c], labels[labels == c]) for c in (0, 1, 3)])
    plain = classifier.loss(logits, labels)
    state = set(classifier.state_dict())
    classifier.balance(labels.bincount(minlength=4))
    torch.testing.assert_close(classifier.loss(logits, labels), by_class.mean())
    assert not torch.allclose(plain, by_class.mean())
    assert set(classifier.state_dict()) == state  # a run of other shots is read alike


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 0.0}, "scale is 0.0: give a number above 0"),
        ({"margin": -0.1}, "margin is -0.1: give a number of at least 0 and below 3.15"),
        ({"smoothing": 1.0}, "smoothing is 1.0: give a number of at least 0 and below 1"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ClassifierSettings(**change)
