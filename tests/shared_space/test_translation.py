from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ktl.class_statistics import ClassStatistics, architecture_of, class_statistics, pooled
from ktl.seeds import stream
from ktl.shared_space.discriminant import discriminant
from ktl.shared_space.translation import in_terms_of, translated

CLASSES, DIMENSION = 40, 12
LABELS = torch.arange(CLASSES).repeat(30)
HOME, ABROAD = architecture_of("home"), architecture_of("abroad")


def normal(*shape: int, name: str) -> Tensor:
    return torch.randn(*shape, generator=stream(0, name))


MEANS = normal(CLASSES, DIMENSION, name="means")
TURN = torch.eye(DIMENSION) + 0.3 * normal(DIMENSION, DIMENSION, name="turn")  # how the other architecture sees
SHIFT = normal(DIMENSION, name="shift")


def points(name: str, spread: float) -> Tensor:
    return MEANS[LABELS] + spread * normal(len(LABELS), DIMENSION, name=name)


def statistics(seen: Tensor, architecture: bytes) -> ClassStatistics:
    return replace(class_statistics(seen, LABELS), architecture=architecture)


def test_means_are_turned_into_the_terms_of_the_home() -> None:
    home, foreign = statistics(points("a", 0.05), HOME), statistics(points("b", 0.05) @ TURN + SHIFT, ABROAD)
    found = translated(foreign, home)
    assert (found.means - home.means).norm() < 0.1 * (foreign.means - home.means).norm()
    assert torch.equal(found.counts, foreign.counts)
    assert found.architecture == ABROAD


def test_classes_that_the_home_lacks_are_turned_along() -> None:
    home, foreign = statistics(points("a", 0.05), HOME), statistics(points("b", 0.05) @ TURN + SHIFT, ABROAD)
    half = class_statistics(points("a", 0.05)[LABELS < 20], LABELS[LABELS < 20])
    found = translated(foreign, half)
    assert (found.means[20:] - home.means[20:]).norm() < 0.3 * (foreign.means[20:] - home.means[20:]).norm()


def test_scatter_is_the_homes() -> None:
    home, foreign = statistics(points("a", 0.2), HOME), statistics(points("b", 0.4) @ TURN, ABROAD)
    found = translated(foreign, home)
    within = [part.moment - part.sums.T @ part.means for part in (found, home)]
    torch.testing.assert_close(within[0], within[1], atol=0.01 * float(within[1].abs().max()), rtol=0)


def test_points_are_classified_better_by_both_architectures_than_by_ones_own() -> None:
    few = torch.arange(len(LABELS)) % len(LABELS) < 3 * CLASSES  # three images of each class
    seen, other, tested = points("a", 1.0), points("b", 1.0) @ TURN + SHIFT, points("c", 1.0)
    home = replace(class_statistics(seen[few], LABELS[few]), architecture=HOME)
    foreign = statistics(other, ABROAD)

    def right(known: ClassStatistics) -> float:
        return float((discriminant(known, CLASSES)(tested).argmax(dim=1) == LABELS).float().mean())

    assert right(in_terms_of(HOME, [foreign, home])) > right(home) + 0.03
    assert right(in_terms_of(HOME, [foreign, home])) > right(pooled([foreign, home])) + 0.03


def test_what_cannot_be_translated_is_added_as_it_is() -> None:
    home, foreign = statistics(points("a", 0.2), HOME), statistics(points("b", 0.4), ABROAD)
    parts = [foreign, home]
    assert torch.equal(in_terms_of(architecture_of("third"), parts).sums, pooled(parts).sums)
    single = replace(class_statistics(points("a", 0.2)[:1], LABELS[:1]), architecture=HOME)
    assert torch.equal(in_terms_of(HOME, [foreign, single]).sums, pooled([single, foreign]).sums)
    assert torch.equal(in_terms_of(HOME, [home]).moment, home.moment)
