"""The maps of a frozen network: as the network computes them, whatever was done to have them faster."""

from __future__ import annotations

import pytest
import torch
from support.feature_network import Convolutional
from torch import nn

from ktl.errors import UsageError
from ktl.generators.training.features import FeatureMaps
from ktl.seeds import stream

IMAGES = torch.rand(3, 3, 16, 16, generator=stream(0, "images")) * 2 - 1


def test_maps_are_those_that_go_into_whatever_lowers_the_resolution() -> None:
    encoder = Convolutional()
    before = {name: tensor.clone() for name, tensor in encoder.network.state_dict().items()}
    maps = FeatureMaps(encoder, 32)
    assert maps.shapes == [(8, 8), (12, 4), (16, 2)]
    enlarged = nn.functional.interpolate(IMAGES, size=(32, 32), mode="bilinear")
    red, green, blue = (enlarged / 2 + 0.5).unbind(dim=1)
    network = encoder.network
    with torch.no_grad():
        fine = network.stem(torch.stack([red - 0.5, (green - 0.4) / 0.5, (blue - 0.3) / 0.25], dim=1))
        middle = network.first(fine)
        coarse = network.second(middle)
        for found, expected in zip(maps(IMAGES), (fine, middle, coarse), strict=True):
            torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)
    for name, tensor in encoder.network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_gradient_passes_to_the_images_and_to_no_weight() -> None:
    maps = FeatureMaps(Convolutional(), 32)
    images = IMAGES.clone().requires_grad_()
    sum(each.square().mean() for each in maps(images)).backward()
    assert images.grad is not None
    assert (images.grad.abs().amax(dim=(1, 2, 3)) > 0).all()
    assert all(parameter.grad is None for parameter in maps.parameters())


def test_networks_without_maps_are_refused() -> None:
    encoder = Convolutional()
    encoder.network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    with pytest.raises(UsageError, match="encoder convolutional has no feature maps at strides of 4 to 32"):
        FeatureMaps(encoder, 32)
    del encoder.network
    with pytest.raises(UsageError, match="encoder convolutional has no attribute 'network' to look through"):
        FeatureMaps(encoder, 32)
