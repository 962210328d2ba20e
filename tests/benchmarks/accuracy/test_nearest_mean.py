"""An encoder judged by nearest class means: the one that ships, on images that neither it nor its teacher has seen."""

from __future__ import annotations

import torch

from benchmarks.accuracy import nearest_mean
from ktl.data import load_dataset
from ktl.data.fewshot import draw_task
from ktl.encoders import load_encoder


def test_the_encoder_that_ships_tells_garments_apart() -> None:
    task = draw_task(load_dataset("fashion-mnist", None), shots=5, ways=None, seed=0)
    assert nearest_mean.nearest_mean_accuracy(load_encoder("builtin"), task) > 50


def test_means_are_along_each_class() -> None:
    points = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.6, 0.8]])
    means = nearest_mean.class_means(points, torch.tensor([0, 0, 2, 2]), 3)
    torch.testing.assert_close(
        means, torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.6 / 2.8636, 2.8 / 2.8636]]), atol=1e-3, rtol=0
    )
