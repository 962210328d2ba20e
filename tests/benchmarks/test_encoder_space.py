"""The space of an encoder's embeddings, and the classifier in it; a random encoder stands in for the downloaded one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from ktl import load_generator, stream
from ktl.class_statistics import class_statistics
from ktl.generators.base import sample_latents

from .conftest import Names

EMBEDDED = 24
DIMENSION = 8
FITTED_ON = 64  # images


@pytest.fixture
def benchmark_names(names_in: Names) -> SimpleNamespace:
    return names_in("encoder_space")


def encode(images: Tensor) -> Tensor:
    """A fixed random projection of the pixels."""
    matrix = torch.randn(3 * 32 * 32, EMBEDDED, generator=stream(0, "random encoder"))
    return images.flatten(1).float() @ matrix + 100


def test_a_space_has_the_directions_of_most_variance_in_their_order(benchmark_names: SimpleNamespace) -> None:
    generator = load_generator("builtin")
    space = benchmark_names.EncoderSpace(generator, encode, DIMENSION, fitted_on=FITTED_ON)
    latents = sample_latents(generator, FITTED_ON, stream(0, "encoder space"))  # those that it was fitted on
    images = generator.images(latents)
    vectors = space.vectors(latents, images)
    assert vectors.shape == (FITTED_ON, DIMENSION)
    assert vectors.mean(dim=0).abs().max() < 1e-3 * vectors.std()
    variances = torch.linalg.eigvalsh(torch.cov(encode(images).T.double())).flip(0)[:DIMENSION]
    off = torch.cov(vectors.T.double()) - variances.diag()
    assert off.abs().max() < 1e-4 * variances[-1]


def test_a_space_is_the_same_whenever_it_is_made(benchmark_names: SimpleNamespace) -> None:
    generator = load_generator("builtin")
    latents = sample_latents(generator, 4, stream(1, "latents"))
    images = generator.images(latents)
    first, second = (
        benchmark_names.EncoderSpace(generator, encode, DIMENSION, fitted_on=FITTED_ON).vectors(latents, images)
        for _ in range(2)
    )
    assert torch.equal(first, second)


def test_cosines_are_taken_from_the_mean_of_the_classes(benchmark_names: SimpleNamespace) -> None:
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    known = class_statistics(points[:2], torch.tensor([0, 2]))  # means from their mean: +-(1, -1) / 2
    scores = benchmark_names.cosines(points, known, classes=3)
    near = 0.2 / (2 * (0.3**2 + 0.1**2)) ** 0.5  # (0.3, 0.1) with (1, -1)
    assert scores[:, 1].tolist() == [-torch.inf] * 3
    assert torch.allclose(scores[:, [0, 2]], torch.tensor([[1.0, -1.0], [-1.0, 1.0], [near, -near]]))


def test_the_table_has_means_over_seeds_and_what_is_more_than_alone(benchmark_names: SimpleNamespace) -> None:
    names = [f"{way}, {size}" for way in benchmark_names.WAYS for size in benchmark_names.SIZES]
    rows = [{"seed": seed, "alone": 9.0 + seed} | dict.fromkeys(names, 19.0 + seed) for seed in range(2)]
    lines = benchmark_names.table(rows).splitlines()
    assert len(lines) == 2 + 1 + len(names)
    assert lines[2] == "| alone | 2 | 9.50 ± 6.36 |  | 9.00, 10.00 |"
    assert "| cosine, 20 | 2 | 19.50 ± 6.36 | +10.00 ± 0.00 | 19.00, 20.00 |" in lines
