"""Pictures that a cloud could draw from class statistics."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ktl.class_statistics import class_statistics
from ktl.cloud.drawing import drawn_classes, mean_latents, nearest_latents
from ktl.generators.base import sample_latents
from ktl.generators.stylegan import StyleGANGenerator
from ktl.seeds import stream


def test_a_latent_of_typical_length_is_drawn_from_its_own_direction_again(tiny_generator: StyleGANGenerator) -> None:
    """As the statistics of one image have it, which an edge maps to its latent without an error."""
    fresh = sample_latents(tiny_generator, 500, stream(0, "fresh"))
    standardised = (fresh - fresh.mean(dim=0)) / fresh.std(dim=0, unbiased=False)
    lengths = standardised.norm(dim=1)
    typical = (lengths - lengths.mean()).abs().argsort()[:3]
    statistics = class_statistics(F.normalize(standardised[typical], dim=1), torch.tensor([4, 1, 7]))
    in_order = typical[[1, 0, 2]]
    torch.testing.assert_close(mean_latents(statistics, fresh), fresh[in_order], atol=0.02, rtol=0)
    assert torch.equal(nearest_latents(statistics, fresh), fresh[in_order])


def test_only_the_direction_of_a_mean_counts_and_none_gives_the_middle() -> None:
    fresh = torch.randn(200, 3, generator=stream(0, "fresh")) * torch.tensor([1.0, 2.0, 3.0]) + 5
    one, other = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.8, 0.6, 0.0], [0.8, -0.6, 0.0]])
    labels = torch.tensor([0, 0])
    torch.testing.assert_close(
        mean_latents(class_statistics(one, labels[:1]), fresh), mean_latents(class_statistics(other, labels), fresh)
    )
    opposite = class_statistics(torch.cat([one, -one]), labels)
    torch.testing.assert_close(mean_latents(opposite, fresh), fresh.mean(dim=0, keepdim=True))


def test_each_class_gets_a_picture_which_depends_on_its_mean_alone(tiny_generator: StyleGANGenerator) -> None:
    points = F.normalize(torch.randn(2, tiny_generator.latent_dim, generator=stream(0, "points")), dim=1)
    both = drawn_classes(class_statistics(points, torch.tensor([3, 0])), tiny_generator, stream(0, "a cloud"))
    alone = drawn_classes(class_statistics(points[:1], torch.tensor([3])), tiny_generator, stream(0, "a cloud"))
    assert (both.shape, both.dtype) == ((2, 3, 16, 16), torch.uint8)
    assert (both[1].int() - alone[0].int()).abs().max() <= 1
    assert not torch.equal(both[0], both[1])
