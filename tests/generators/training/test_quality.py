from __future__ import annotations

import pytest
import torch

from ktl.errors import DataError
from ktl.generators.network import NetworkGenerator
from ktl.generators.training.quality import covered, frechet_distance, measure_quality, random_features
from ktl.seeds import stream


def normal(count: int, dimension: int, name: str) -> torch.Tensor:
    return torch.randn(count, dimension, generator=stream(0, name))


def test_frechet_distance_of_two_normals_is_the_known_one() -> None:
    scale = torch.tensor([1.0, 2.0, 0.5])
    a, b = normal(200_000, 3, "a"), 1.0 + scale * normal(200_000, 3, "b")
    expected = 3.0 + float((1.0 - scale).square().sum())  # of the means, and of the standard deviations
    assert frechet_distance(a, b) == pytest.approx(expected, rel=0.02)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-6)


def test_a_part_of_the_points_covers_a_part_of_them() -> None:
    left, right = normal(300, 2, "left"), normal(300, 2, "right") + 100.0
    both = torch.cat([left, right])
    assert covered(left, by=both) == 1.0
    assert covered(both, by=left) == 0.5
    assert covered(both, by=right + 1000.0) == 0.0


def test_features_tell_textures_apart() -> None:
    noise = torch.randint(0, 256, (100, 3, 16, 16), dtype=torch.uint8, generator=stream(0, "noise"))
    flat = noise[:, :, :1, :1].expand(-1, -1, 16, 16)
    assert random_features(noise).shape == (100, 192)
    assert torch.equal(random_features(noise), random_features(noise))
    halves = frechet_distance(random_features(noise[:50]), random_features(noise[50:]))
    assert frechet_distance(random_features(noise), random_features(flat)) > 10 * halves


def test_a_generator_measured_against_its_own_images_is_perfect_and_a_collapsed_one_is_not(
    tiny_generator: NetworkGenerator,
) -> None:
    with torch.no_grad():
        own = tiny_generator.images(tiny_generator.latents(normal(400, tiny_generator.noise_dim, "z")))
        good = measure_quality(tiny_generator, own)
    assert good.precision > 0.9
    assert good.recall > 0.9
    assert good.diversity == pytest.approx(1.0, abs=0.1)

    class Collapsed(NetworkGenerator):
        def latents(self, noise: torch.Tensor) -> torch.Tensor:
            return super().latents(noise[:1] + 0.2 * noise)

    collapsed = Collapsed(tiny_generator.network, name="collapsed", licence="", fingerprint="")
    bad = measure_quality(collapsed, own)
    assert bad.distance > 5 * good.distance
    assert bad.recall < good.recall / 2
    assert bad.diversity < 0.9


def test_too_few_or_wrongly_sized_images_are_refused(tiny_generator: NetworkGenerator) -> None:
    with pytest.raises(DataError, match="63 images to compare with: at least 64 are needed"):
        measure_quality(tiny_generator, torch.zeros(63, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(DataError, match="images of 32 pixels for a generator of 16: scale them first"):
        measure_quality(tiny_generator, torch.zeros(64, 3, 32, 32, dtype=torch.uint8))
