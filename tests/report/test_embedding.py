"""Pictures of many dimensions keep what they say they keep."""

from __future__ import annotations

import numpy as np
import pytest

from ktl.report.embedding import principal_components, tsne


def test_principal_components_are_the_directions_of_largest_variance() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(200, 2)) * [5.0, 2.0]
    rotation = np.linalg.qr(rng.normal(size=(9, 9)))[0]
    vectors = np.pad(plane, ((0, 0), (0, 7))) @ rotation + 3.0
    points = principal_components(vectors)
    assert points.std(axis=0) == pytest.approx(np.linalg.svd(plane - plane.mean(axis=0))[1] / np.sqrt(200))
    assert np.linalg.norm(points[3] - points[7]) == pytest.approx(np.linalg.norm(plane[3] - plane[7]))


def test_principal_components_of_two_points_lie_on_a_line() -> None:
    points = principal_components(np.array([[0.0, 0.0, 1.0], [3.0, 4.0, 1.0]]))
    assert abs(points[0, 0] - points[1, 0]) == pytest.approx(5.0)
    assert points[:, 1] == pytest.approx([0.0, 0.0], abs=1e-9)


def test_tsne_keeps_neighbours_together_and_clusters_apart() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 50)) * 6
    labels = np.repeat(np.arange(4), 40)
    points = tsne(centres[labels] + rng.normal(size=(160, 50)))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag(np.full(160, np.inf))
    nearest = distances.argsort(axis=1)[:, :10]
    assert (labels[nearest] == labels[:, None]).mean() > 0.95
    assert np.isfinite(points).all()


def test_tsne_of_equal_vectors_is_equal() -> None:
    vectors = np.random.default_rng(1).normal(size=(60, 8))
    assert tsne(vectors).tolist() == tsne(vectors).tolist()
