from __future__ import annotations

import torch

from ktl.alignment.random import RandomLatents
from ktl.generators.network import NetworkGenerator
from ktl.prototypes import Prototypes

CLASSES = torch.tensor([0, 2, 3])
PROTOTYPES = [Prototypes(torch.eye(4)[CLASSES], CLASSES, torch.ones(3, dtype=torch.int64))]
OTHERS = [Prototypes(-torch.eye(4)[CLASSES], CLASSES, torch.ones(3, dtype=torch.int64))]


def test_latents_are_fresh_draws_and_owe_the_prototypes_nothing_but_their_classes(
    tiny_generator: NetworkGenerator,
) -> None:
    aligned = RandomLatents(4, 4, seed=1).align(PROTOTYPES, tiny_generator, 200)
    assert aligned.classes.tolist() == [0, 2, 3]
    assert aligned.latents.shape == (3, 200, tiny_generator.latent_dim)
    assert torch.equal(aligned.centroids, aligned.latents[:, 0])
    assert torch.equal(RandomLatents(4, 4, seed=1).align(OTHERS, tiny_generator, 200).latents, aligned.latents)
    fresh = tiny_generator.latents(torch.randn(4000, tiny_generator.noise_dim))
    for of_class in aligned.latents:
        torch.testing.assert_close(of_class.mean(dim=0), fresh.mean(dim=0), atol=0.35, rtol=0.0)
        torch.testing.assert_close(of_class.std(dim=0), fresh.std(dim=0), atol=0.35, rtol=0.0)


def test_each_round_and_each_seed_draws_others(tiny_generator: NetworkGenerator) -> None:
    strategy = RandomLatents(4, 4, seed=1)
    first, second = (strategy.align(PROTOTYPES, tiny_generator, 5).latents for _ in range(2))
    other = RandomLatents(4, 4, seed=2).align(PROTOTYPES, tiny_generator, 5).latents
    assert len(torch.cat([first, second, other]).flatten(0, 1).unique(dim=0)) == 45
