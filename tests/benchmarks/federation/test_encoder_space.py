"""The classifier by cosines in an encoder's space, and the table."""

from __future__ import annotations

import torch

from benchmarks.federation import encoder_space
from benchmarks.lib.cells import Row
from ktl.class_statistics import class_statistics


def test_cosines_are_taken_from_the_mean_of_the_classes() -> None:
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    known = class_statistics(points[:2], torch.tensor([0, 2]))  # means from their mean: +-(1, -1) / 2
    scores = encoder_space.cosines(points, known, classes=3)
    near = 0.2 / (2 * (0.3**2 + 0.1**2)) ** 0.5  # (0.3, 0.1) with (1, -1)
    assert scores[:, 1].tolist() == [-torch.inf] * 3
    assert torch.allclose(scores[:, [0, 2]], torch.tensor([[1.0, -1.0], [-1.0, 1.0], [near, -near]]))


def test_the_table_has_means_over_seeds_and_what_is_more_than_alone() -> None:
    names = [f"{way}, {size}" for way in encoder_space.WAYS for size in encoder_space.SIZES]
    first = {"setting": "2 shots cnn4", "encoder": "builtin"}
    rows: list[Row] = [
        first | {"seed": seed, "alone": 9.0 + seed} | dict.fromkeys(names, 19.0 + seed) for seed in range(2)
    ]
    lines = encoder_space.TABLES["all"](rows).splitlines()
    assert len(lines) == 2 + 1 + len(names)
    assert lines[2] == "| 2 shots cnn4 | builtin | alone | 2 | 9.50 ± 6.36 |  | 9.00, 10.00 |"
    assert "| 2 shots cnn4 | builtin | cosine, 20 | 2 | 19.50 ± 6.36 | +10.00 ± 0.00 | 19.00, 20.00 |" in lines
    by_size = encoder_space.TABLES["builtin"](rows).splitlines()
    assert by_size[2:4] == [
        "| alone: each by its classifier | 9.50 ± 6.36 |  |  |  |  |",
        f"| as FedKTL classifies |{' 19.50 ± 6.36 |' * 5}",
    ]
