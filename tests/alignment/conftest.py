from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ktl.generators import load_generator
from ktl.generators.base import ImageGenerator, sample_latents
from ktl.seeds import stream


class Mahalanobis:
    """Distances of latents from the generator's own distribution, estimated from many fresh ones."""

    def __init__(self, generator: ImageGenerator) -> None:
        fresh = sample_latents(generator, 20_000, stream(0, "reference")).double()
        self.mean = fresh.mean(dim=0)
        self.precision = torch.linalg.inv(torch.cov(fresh.T) + 1e-6 * torch.eye(fresh.shape[1]))

    def __call__(self, latents: Tensor) -> Tensor:
        offset = latents.double() - self.mean
        return ((offset @ self.precision) * offset).sum(dim=1).sqrt()


@pytest.fixture(scope="session")
def builtin() -> ImageGenerator:
    return load_generator("builtin")


@pytest.fixture(scope="session")
def mahalanobis(builtin: ImageGenerator) -> Mahalanobis:
    return Mahalanobis(builtin)
