"""Pictures that a cloud could draw from class statistics."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ktl.class_statistics import class_statistics
from ktl.cloud.drawing import drawn_means, mean_latents, nearest_latents
from ktl.generators.base import sample_latents
from ktl.generators.network import NetworkGenerator
from ktl.seeds import stream


def test_a_latent_of_typical_length_is_drawn_from_its_own_direction_again(tiny_generator: NetworkGenerator) -> None:
    """As the statistics of one image have it, which an edge maps to its latent without an error."""
    fresh = sample_latents(tiny_generator, 500, stream(0, "fresh"))
    standardised = (fresh - fresh.mean(dim=0)) / fresh.std(dim=0, unbiased=False)
    lengths = standardised.norm(dim=1)
    typical = (lengths - lengths.mean()).abs().argsort()[:3]
    means = class_statistics(F.normalize(standardised[typical], dim=1), torch.arange(3)).means
    torch.testing.assert_close(mean_latents(means, fresh), fresh[typical], atol=0.02, rtol=0)
    assert torch.equal(nearest_latents(means, fresh), fresh[typical])


def test_only_the_direction_of_a_mean_counts_and_none_gives_the_middle() -> None:
    fresh = torch.randn(200, 3, generator=stream(0, "fresh")) * torch.tensor([1.0, 2.0, 3.0]) + 5
    short, long, none = mean_latents(torch.tensor([[0.0, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), fresh)
    torch.testing.assert_close(short, long)
    torch.testing.assert_close(none, fresh.mean(dim=0))


def test_each_mean_gets_a_picture_of_its_own(tiny_generator: NetworkGenerator) -> None:
    means = torch.randn(2, tiny_generator.latent_dim, generator=stream(0, "means"))
    both, alone = (drawn_means(each, tiny_generator, stream(0, "a cloud")) for each in (means, means[:1]))
    assert (both.shape, both.dtype) == ((2, 3, 16, 16), torch.uint8)
    assert (both[0].int() - alone[0].int()).abs().max() <= 1
    assert not torch.equal(both[0], both[1])
