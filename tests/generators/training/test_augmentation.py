from __future__ import annotations

import torch

from ktl.generators.training.augmentation import augmented
from ktl.seeds import stream


def test_a_plain_image_gets_one_new_light_and_loses_a_part() -> None:
    images = torch.full((64, 3, 16, 16), 0.25)
    changed = augmented(images, stream(0, "augmented"))
    lights = set()
    for image in changed:
        light = image.abs().amax()
        values = image.unique()
        assert len(values) == 2
        assert 0.0 in values
        lights.add(round(float(image[image != 0].mean()), 4))
        assert 0.02 < (image == 0).float().mean() < 0.55  # a corner of a hole, or a whole one and a shifted edge
        assert light <= 0.75
    assert len(lights) > 60


def test_a_picture_moves_by_an_eighth_at_most() -> None:
    images = torch.zeros(200, 3, 16, 16)
    images[:, :, 8, 8] = 1e6  # far above any change of light
    brightest = augmented(images, stream(0, "augmented")).sum(dim=1).flatten(1).max(dim=1)
    found = brightest.indices[brightest.values > 1e5]  # no hole is there
    assert set((found // 16).tolist()) == set((found % 16).tolist()) == {6, 7, 8, 9, 10}


def test_the_same_stream_changes_alike_and_a_gradient_passes() -> None:
    images = (torch.rand(8, 3, 16, 16, generator=stream(0, "images")) * 2 - 1).requires_grad_()
    first, second = (augmented(images, stream(1, "augmented")) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, augmented(images, stream(2, "augmented")))
    first.square().sum().backward()
    assert images.grad is not None
    assert (images.grad.abs().sum(dim=(1, 2, 3)) > 0).all()
