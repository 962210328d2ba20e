from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ktl.errors import UsageError
from ktl.objectives import TRANSFERS
from ktl.objectives.image_vector import ImageVectorContrast
from ktl.objectives.pair_objective import PairObjective
from ktl.pairs import ImageVectorPairs
from ktl.seeds import initialising, stream


def make_objective(name: str, vectors: torch.Tensor, feature_dim: int = 16) -> PairObjective:
    with initialising(0, "objective"):
        objective: PairObjective = TRANSFERS.load(name)(feature_dim, vectors, TRANSFERS.choose(name).settings)
    return objective


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(12, 16, generator=stream(0, "features"))


@pytest.fixture
def vectors() -> torch.Tensor:
    return 5.0 + 3.0 * torch.randn(12, 8, generator=stream(0, "vectors"))


def test_mse_is_the_squared_error_of_a_linear_map(features: torch.Tensor, vectors: torch.Tensor) -> None:
    objective = make_objective("mse", vectors)
    expected = F.mse_loss(features @ objective.head.weight.T + objective.head.bias, vectors)
    torch.testing.assert_close(objective.loss([features], vectors), expected)


def test_contrast_is_log_batch_size_when_nothing_is_told_apart(vectors: torch.Tensor) -> None:
    objective = make_objective("image-vector", vectors)
    same = torch.ones(12, 16)
    logits_over_images = objective.loss([same], vectors[:1].expand(12, -1))
    assert logits_over_images.item() == pytest.approx(math.log(12), abs=1e-4)


def test_contrast_falls_to_nothing_when_pairs_are_learnt(features: torch.Tensor, vectors: torch.Tensor) -> None:
    objective = make_objective("image-vector", vectors)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
    start = objective.loss([features], vectors).item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = objective.loss([features], vectors)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 < 1.5 < start


def test_contrast_does_not_depend_on_the_latents_scale_or_offset(features: torch.Tensor, vectors: torch.Tensor) -> None:
    far = 1e3 * vectors - 7e4
    torch.testing.assert_close(
        make_objective("image-vector", far).loss([features], far),
        make_objective("image-vector", vectors).loss([features], vectors),
        atol=1e-3,
        rtol=1e-3,
    )


def test_contrast_is_symmetric_under_reordering_the_pairs(features: torch.Tensor, vectors: torch.Tensor) -> None:
    objective = make_objective("image-vector", vectors)
    order = torch.randperm(12, generator=stream(0, "order"))
    torch.testing.assert_close(objective.loss([features[order]], vectors[order]), objective.loss([features], vectors))


def test_a_latent_that_never_varies_is_harmless(features: torch.Tensor, vectors: torch.Tensor) -> None:
    vectors[:, 3] = 2.0
    loss = make_objective("image-vector", vectors).loss([features], vectors)
    assert torch.isfinite(loss)


def test_vectors_that_are_a_metric_are_what_is_learnt(features: torch.Tensor, vectors: torch.Tensor) -> None:
    pairs = ImageVectorPairs(torch.empty(12, 3, 4, 4), vectors, torch.zeros(12, dtype=torch.int64), metric=True)
    with initialising(0, "objective"):
        objective = ImageVectorContrast.on(pairs, 16, TRANSFERS.choose("image-vector").settings)
    wanted = F.normalize(vectors - vectors.mean(dim=0), dim=1)
    with torch.no_grad():  # a head that gives them
        weight = torch.linalg.lstsq(torch.cat([features, torch.ones(12, 1)], dim=1), wanted).solution.T
        objective.image_head.weight.copy_(weight[:, :16])
        objective.image_head.bias.copy_(weight[:, 16])
    expected = F.cross_entropy(wanted @ wanted.T / 0.1, torch.arange(12))
    torch.testing.assert_close(objective.loss([features], vectors), expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(objective.loss([features], 7 * vectors - 6 * vectors.mean(dim=0)), expected)
    assert type(ImageVectorContrast.on(replace(pairs, metric=False), 16, objective.settings)) is ImageVectorContrast


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
    objective = make_objective("contrastive", vectors)
    other = features + 0.3 * torch.randn(features.shape, generator=stream(1, "other view"))
    with torch.no_grad():
        expected = nt_xent(objective.head(features), objective.head(other), temperature=0.2)
        assert objective.loss([features, other], vectors).item() == pytest.approx(expected, rel=1e-5)
        assert objective.loss([features, other], 0 * vectors).item() == pytest.approx(expected, rel=1e-5)


def test_both_contrasts_add_up(features: torch.Tensor, vectors: torch.Tensor) -> None:
    objective = make_objective("image-vector+contrastive", vectors)
    views = [features, features.flip(1)]
    expected = objective.image_vector.loss(views[:1], vectors) + objective.contrastive.loss(views, vectors)
    torch.testing.assert_close(objective.loss(views, vectors), expected)
    assert objective.contrastive.loss(views, vectors) > 0.1


@pytest.mark.parametrize("name", TRANSFERS.names())
def test_every_objective_has_its_settings_and_says_how_many_views_it_takes(
    name: str, features: torch.Tensor, vectors: torch.Tensor
) -> None:
    objective = make_objective(name, vectors)
    assert isinstance(TRANSFERS.choose(name).settings, objective.Settings)
    assert objective.loss([features] * objective.views, vectors).shape == ()


def test_an_unknown_task_lists_the_choices() -> None:
    with pytest.raises(
        UsageError, match="unknown transfer 'magic': choose one of image-vector, contrastive, image-vector"
    ):
        TRANSFERS.load("magic")


def test_the_published_objective_has_the_papers_settings() -> None:
    published = TRANSFERS.choose("mse").settings
    assert (published.warmup_steps, published.joint_batch, published.weight) == (0, 10, 50.0)
    assert published.anew_each_round
    assert not TRANSFERS.choose("image-vector").settings.anew_each_round
