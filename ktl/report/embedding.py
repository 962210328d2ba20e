"""Many dimensions on a page: principal components, and t-SNE in numpy (a picture is no reason for a new dependency)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

PERPLEXITY = 30.0
STEPS = 300
EXAGGERATED_STEPS = 80
EXAGGERATION = 8.0
BISECTIONS = 40


def principal_components(vectors: Points) -> Points:
    """(n, d) -> (n, 2): the two directions of largest variance."""
    centred = vectors - vectors.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(vectors), 2))
    points[:, : left.shape[1]] = left[:, :2] * singular[:2]
    return points


def tsne(vectors: Points, perplexity: float = PERPLEXITY) -> Points:
    """(n, d) -> (n, 2), neighbours kept: van der Maaten and Hinton (JMLR 2008), exact, started from the principal
    components, so that equal vectors give equal pictures. For n up to about a thousand.
    """
    n = len(vectors)
    affinities = _affinities(_squared_distances(vectors), min(perplexity, (n - 1) / 3))
    start = principal_components(vectors)
    points = start / max(float(start[:, 0].std()), 1e-12) * 1e-2
    velocity, gains = np.zeros_like(points), np.ones_like(points)
    for step in range(STEPS):
        early = step < EXAGGERATED_STEPS
        kernel = 1.0 / (1.0 + _squared_distances(points))
        np.fill_diagonal(kernel, 0.0)
        weights = (affinities * (EXAGGERATION if early else 1.0) - kernel / kernel.sum()) * kernel
        gradient = 4.0 * (weights.sum(axis=1)[:, None] * points - weights @ points)
        gains = np.where(np.sign(gradient) == np.sign(velocity), gains * 0.8, gains + 0.2).clip(0.01)
        velocity = (0.5 if early else 0.8) * velocity - max(n / EXAGGERATION, 50.0) * gains * gradient
        points = points + velocity
    centred: Points = points - points.mean(axis=0)
    return centred


def _affinities(distances: Points, perplexity: float) -> Points:
    """Symmetric neighbour probabilities (n, n): each row's Gaussian has as many neighbours as `perplexity` says."""
    n = len(distances)
    low, high = np.full(n, 1e-12), np.full(n, 1e12)
    scale = distances[distances > 0].mean() if (distances > 0).any() else 1.0
    others = np.where(np.eye(n, dtype=bool), np.inf, distances / scale)
    others -= others.min(axis=1, keepdims=True)
    for _ in range(BISECTIONS):
        precision = np.sqrt(low * high)
        rows = np.exp(-others * precision[:, None])
        rows /= rows.sum(axis=1, keepdims=True)
        entropy = -(rows * np.log(np.maximum(rows, 1e-300))).sum(axis=1)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, precision, low), np.where(wide, high, precision)
    joint = rows + rows.T
    probabilities: Points = np.maximum(joint / joint.sum(), 1e-15)
    return probabilities


def _squared_distances(points: Points) -> Points:
    lengths = (points**2).sum(axis=1)
    distances: Points = np.maximum(lengths[:, None] + lengths[None, :] - 2.0 * points @ points.T, 0.0)
    return distances
