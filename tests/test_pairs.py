from __future__ import annotations

import pytest
import torch

from ktl.errors import DataError
from ktl.pairs import ImageVectorPairs, concatenate


def pairs(n: int, first: int = 0) -> ImageVectorPairs:
    images = torch.arange(first, first + n, dtype=torch.uint8).reshape(n, 1, 1, 1).expand(n, 3, 2, 2)
    vectors = torch.arange(first, first + n).float()[:, None].expand(n, 4)
    return ImageVectorPairs(images, vectors, torch.arange(n) % 3)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_valid_pairs_know_how_many_they_are(n: int) -> None:
    pairs(n).validate(3)
    assert len(pairs(n)) == n


def test_downloads_are_concatenated_in_order() -> None:
    together = concatenate([pairs(2), pairs(0), pairs(3, first=7)])
    assert together.images[:, 0, 0, 0].tolist() == [0, 1, 7, 8, 9]
    assert together.vectors[:, 0].tolist() == [0.0, 1.0, 7.0, 8.0, 9.0]
    assert together.classes.tolist() == [0, 1, 0, 1, 2]


GOOD = pairs(2)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (ImageVectorPairs(GOOD.images[:1], GOOD.vectors, GOOD.classes), r"images \(1, 3, 2, 2\), .* 2 classes"),
        (ImageVectorPairs(GOOD.images, GOOD.vectors[:1], GOOD.classes), r"vectors \(1, 4\), 2 classes"),
        (ImageVectorPairs(GOOD.images, GOOD.vectors, GOOD.classes[:1]), "1 classes"),
        (ImageVectorPairs(GOOD.images[:, 0], GOOD.vectors, GOOD.classes), r"images \(2, 2, 2\)"),
        (ImageVectorPairs(GOOD.images, GOOD.vectors[:, 0], GOOD.classes), r"vectors \(2,\)"),
        (ImageVectorPairs(GOOD.images, GOOD.vectors * float("nan"), GOOD.classes), "is not finite"),
        (ImageVectorPairs(GOOD.images, GOOD.vectors / 0.0, GOOD.classes), "is not finite"),
        (ImageVectorPairs(GOOD.images, GOOD.vectors, torch.tensor([0, -1])), r"class index -1 is outside 0..2"),
        (ImageVectorPairs(GOOD.images, GOOD.vectors, torch.tensor([3, 0])), r"class index 3 is outside 0..2"),
    ],
)
def test_wrong_pairs_are_refused(wrong: ImageVectorPairs, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        wrong.validate(3)
