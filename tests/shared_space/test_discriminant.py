from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ktl.class_statistics import ClassStatistics, class_statistics, pooled
from ktl.seeds import stream
from ktl.shared_space.discriminant import discriminant

CLASSES, DIMENSION = 8, 10


def points(per_class: int, what: str, spread: float = 0.35) -> tuple[Tensor, Tensor]:
    """Around fixed class means, with a covariance that is far from round."""
    centres = torch.randn(CLASSES, DIMENSION, generator=stream(0, "centres"))
    labels = torch.arange(CLASSES).repeat_interleave(per_class)
    noise = torch.randn(len(labels), DIMENSION, generator=stream(0, what)) * torch.linspace(0.3, 6, DIMENSION)
    return torch.nn.functional.normalize(centres[labels] + spread * noise, dim=1), labels


def accuracy(statistics: ClassStatistics) -> float:
    tested, labels = points(200, "tested")
    return float((discriminant(statistics, CLASSES)(tested).argmax(dim=1) == labels).double().mean())


def plain(points: Tensor, labels: Tensor) -> Tensor:
    """Scores of the points themselves, written out from the two-covariance model with explicit inverses and loops."""
    x = points.double()
    classes = labels.unique()
    means = torch.stack([x[labels == c].mean(dim=0) for c in classes])
    counts = torch.tensor([float((labels == c).sum()) for c in classes], dtype=torch.float64)
    within = sum((torch.outer(r - means[y], r - means[y]) for r, y in zip(x, labels, strict=True)), torch.zeros(()))
    s = (within + DIMENSION * x.T.cov()) / (len(x) - len(classes) + DIMENSION)
    s = s + 0.1 * s.trace() / DIMENSION * torch.eye(DIMENSION)
    mu = means.mean(dim=0)
    values, vectors = torch.linalg.eigh(s)
    whiten = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    z = (means - mu) @ whiten
    between = z.T @ z / (len(classes) - 1) - torch.eye(DIMENSION) * (1 / counts).mean()
    e = torch.linalg.eigvalsh(between).clamp_min(0).mean()
    rows = [
        [
            g * (whiten @ (r - mu)) @ z[c] - g * g * (z[c] @ z[c]) / 2
            for c, g in enumerate([e / (e + 1 / k) for k in counts])
        ]
        for r in x
    ]
    return torch.tensor(rows)


def test_scores_are_those_of_the_two_covariance_model() -> None:
    shots, labels = points(3, "shots")
    shots, labels = shots[:-2], labels[:-2]  # the last class has one image
    found = discriminant(class_statistics(shots, labels), CLASSES)(shots)
    torch.testing.assert_close(found.double(), plain(shots, labels), atol=1e-4, rtol=1e-4)


def test_many_edges_classify_better_than_one_and_nearly_as_well_as_all_images_allow() -> None:
    shots, labels = points(40, "shots")
    order = torch.arange(len(labels)).reshape(CLASSES, 20, 2)
    edges = [class_statistics(shots[order[:, i].flatten()], labels[order[:, i].flatten()]) for i in range(20)]
    reached = [accuracy(pooled(edges[:k])) for k in (1, 5, 20)]
    assert reached[0] + 0.05 < reached[1]
    assert reached[1] + 0.01 < reached[2]
    many = accuracy(class_statistics(*points(2000, "many")))
    assert reached[2] == pytest.approx(many, abs=0.02)


def test_few_images_say_less_than_many_and_labels_at_random_say_next_to_nothing() -> None:
    shots, labels = points(40, "shots")
    shuffled = labels[torch.randperm(len(labels), generator=stream(0, "shuffled"))]
    parts = {"few": (shots[::40], labels[::40]), "many": (shots, labels), "none": (shots, shuffled)}
    said = {
        name: float(discriminant(class_statistics(*part), CLASSES)(shots).detach().std())
        for name, part in parts.items()
    }
    assert said["few"] < 0.5 * said["many"]
    assert said["none"] < 0.1 * said["many"]


def test_a_class_without_images_scores_as_the_mean_of_all() -> None:
    shots, labels = points(5, "shots")
    present = labels != 3
    scores = discriminant(class_statistics(shots[present], labels[present]), CLASSES)
    assert torch.equal(scores.weight[3], torch.zeros(DIMENSION))
    assert scores.bias[3] == 0.0
    assert (scores.weight[[0, 1, 2, 4, 5, 6, 7]].norm(dim=1) > 0).all()


@pytest.mark.parametrize("images", [1, 2])
def test_the_fewest_images_that_there_can_be_give_finite_scores(images: int) -> None:
    shots, labels = points(1, "shots")
    scores = discriminant(class_statistics(shots[:images], labels[:images]), CLASSES)(shots)
    assert scores.shape == (CLASSES, CLASSES)
    assert torch.isfinite(scores).all()
