"""From an edge's own features into the shared space: learnt on image-vector pairs, in closed form."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREEDOM = 64.0  # effective degrees of freedom of the ridge regression


class SpaceMap(nn.Module):
    """features (n, F) -> unit vectors (n, D): a linear map, normalised."""

    def __init__(self, feature_dim: int, dimension: int) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_dim, dimension)

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(self.linear(features), dim=1)


@torch.no_grad()
def fit_space_map(features: Tensor, vectors: Tensor, freedom: float = FREEDOM, *, metric: bool = False) -> SpaceMap:
    """Ridge regression from the features (n, F) of pairs' images to their vectors (n, D), both standardised.

    Where the vectors' directions are a metric they are not standardised, which would change the angles between them.

    The penalty is set so that the map has `freedom` effective degrees of freedom (the sum of s / (s + penalty) over the
    eigenvalues s of the features' scatter), fewer where the features have no more. So extractors whose features vary
    along few directions are not held back, and others do not fit what only generated images have: one penalty for all
    architectures does one or the other.
    """
    features, vectors = features.double(), vectors.double()
    mean, deviation = features.mean(dim=0), features.std(dim=0, unbiased=False)
    alive = deviation > 1e-6 * deviation.max().clamp_min(1e-30)
    scale = torch.where(alive, 1 / deviation.clamp_min(1e-30), torch.zeros_like(deviation))
    standardised = (features - mean) * scale
    targets = vectors - vectors.mean(dim=0)
    if not metric:
        targets = targets / vectors.std(dim=0, unbiased=False).clamp_min(1e-6)
    eigenvalues, directions = torch.linalg.eigh(standardised.T @ standardised)
    eigenvalues = eigenvalues.clamp_min(0.0)
    inverse = 1 / (eigenvalues + _penalty(eigenvalues, freedom))
    weight = directions @ (inverse[:, None] * (directions.T @ (standardised.T @ targets)))
    weight = scale[:, None] * weight
    space_map = SpaceMap(features.shape[1], vectors.shape[1])
    space_map.linear.weight.copy_(weight.T)
    space_map.linear.bias.copy_(-mean @ weight)
    return space_map


def _penalty(eigenvalues: Tensor, freedom: float) -> float:
    """The penalty at which sum(s / (s + penalty)) is `freedom`, by bisection of its logarithm."""
    largest = float(eigenvalues.max())
    low, high = math.log(max(largest, 1.0) * 1e-9), math.log(max(largest, 1.0) * 1e6)
    for _ in range(60):
        middle = (low + high) / 2
        if float((eigenvalues / (eigenvalues + math.exp(middle))).sum()) > freedom:
            low = middle
        else:
            high = middle
    return math.exp(high)
