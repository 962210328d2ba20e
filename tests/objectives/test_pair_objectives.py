from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ktl.errors import UsageError
from ktl.objectives import TRANSFERS
from ktl.objectives import TRANSFERS as TASKS
from ktl.seeds import initialising, stream


def make_task(name: str, vectors: torch.Tensor, feature_dim: int = 16) -> nn.Module:
    with initialising(0, "task"):
        task: nn.Module = TASKS.load(name)(feature_dim, vectors, TRANSFERS[name])
    return task


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(12, 16, generator=stream(0, "features"))


@pytest.fixture
def vectors() -> torch.Tensor:
    return 5.0 + 3.0 * torch.randn(12, 8, generator=stream(0, "vectors"))


def test_mse_is_the_squared_error_of_a_linear_map(features: torch.Tensor, vectors: torch.Tensor) -> None:
    task = make_task("mse", vectors)
    expected = F.mse_loss(features @ task.head.weight.T + task.head.bias, vectors)
    torch.testing.assert_close(task([features], vectors), expected)


def test_contrast_is_log_batch_size_when_nothing_is_told_apart(vectors: torch.Tensor) -> None:
    task = make_task("image-vector", vectors)
    same = torch.ones(12, 16)
    logits_over_images = task([same], vectors[:1].expand(12, -1))
    assert logits_over_images.item() == pytest.approx(math.log(12), abs=1e-4)


def test_contrast_falls_to_nothing_when_pairs_are_learnt(features: torch.Tensor, vectors: torch.Tensor) -> None:
    task = make_task("image-vector", vectors)
    optimizer = torch.optim.Adam(task.parameters(), lr=0.02)
    start = task([features], vectors).item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = task([features], vectors)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 < 1.5 < start


def test_contrast_does_not_depend_on_the_latents_scale_or_offset(features: torch.Tensor, vectors: torch.Tensor) -> None:
    far = 1e3 * vectors - 7e4
    torch.testing.assert_close(
        make_task("image-vector", far)([features], far),
        make_task("image-vector", vectors)([features], vectors),
        atol=1e-3,
        rtol=1e-3,
    )


def test_contrast_is_symmetric_under_reordering_the_pairs(features: torch.Tensor, vectors: torch.Tensor) -> None:
    task = make_task("image-vector", vectors)
    order = torch.randperm(12, generator=stream(0, "order"))
    torch.testing.assert_close(task([features[order]], vectors[order]), task([features], vectors))


def test_a_latent_that_never_varies_is_harmless(features: torch.Tensor, vectors: torch.Tensor) -> None:
    vectors[:, 3] = 2.0
    loss = make_task("image-vector", vectors)([features], vectors)
    assert torch.isfinite(loss)


def nt_xent(first: torch.Tensor, second: torch.Tensor, temperature: float) -> float:
    """Equation 1 of the SimCLR paper, term by term."""
    z = F.normalize(torch.cat([first, second]), dim=1).double()
    n, total = len(first), 0.0
    for i in range(2 * n):
        similarity = [math.exp(float(z[i] @ z[k]) / temperature) for k in range(2 * n)]
        total -= math.log(similarity[(i + n) % (2 * n)] / (sum(similarity) - similarity[i]))
    return total / (2 * n)


def test_view_contrast_is_the_published_loss_of_the_heads_outputs(
    features: torch.Tensor, vectors: torch.Tensor
) -> None:
    task = make_task("contrastive", vectors)
    other = features + 0.3 * torch.randn(features.shape, generator=stream(1, "other view"))
    with torch.no_grad():
        expected = nt_xent(task.head(features), task.head(other), temperature=0.2)
        assert task([features, other], vectors).item() == pytest.approx(expected, rel=1e-5)
        assert task([features, other], 0 * vectors).item() == pytest.approx(expected, rel=1e-5)


def test_both_contrasts_add_up(features: torch.Tensor, vectors: torch.Tensor) -> None:
    task = make_task("image-vector+contrastive", vectors)
    views = [features, features.flip(1)]
    expected = task.image_vector(views[:1], vectors) + task.contrastive(views, vectors)
    torch.testing.assert_close(task(views, vectors), expected)
    assert task.contrastive(views, vectors) > 0.1


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_has_its_settings_and_says_how_many_views_it_takes(
    name: str, features: torch.Tensor, vectors: torch.Tensor
) -> None:
    task = make_task(name, vectors)
    assert TRANSFERS[name].task == name
    assert task([features] * task.views, vectors).shape == ()


def test_an_unknown_task_lists_the_choices() -> None:
    with pytest.raises(
        UsageError, match="unknown transfer 'magic': choose one of image-vector, contrastive, image-vector"
    ):
        TASKS.load("magic")


def test_every_task_has_its_settings() -> None:
    assert set(TRANSFERS) == set(TASKS.names())
    assert all(config.task == name for name, config in TRANSFERS.items())
