from __future__ import annotations

import pytest
import torch

from ktl.class_statistics import class_statistics
from ktl.shared_space.pooled_model import share_of


@pytest.mark.parametrize(
    ("own", "everyone", "share"),
    [
        ([2, 0, 1], [0, 0, 2], 1.0),  # alone
        ([1, 0, 0], [0, 0, 0, 0], 0.25),
        ([3, 1, 0], [0, 0, 0, 1, 1, 2], (3 * 1 + 1 / 2) / 4),
        ([2, 0, 0], [1, 2], 1.0),  # it has learnt something after the others' sums were made
    ],
)
def test_an_edges_share_is_that_of_its_images_at_the_mean(own: list[int], everyone: list[int], share: float) -> None:
    statistics = class_statistics(torch.eye(len(everyone)), torch.tensor(everyone))
    assert share_of(torch.tensor(own), statistics) == pytest.approx(share)
