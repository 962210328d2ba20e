"""Depth-wise convolutions with a stride: what is faster to train through is the same convolution."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.models import MODELS
from ktl.models.depthwise import SparedStrides, spare_strides


class PaddedAsNeeded(nn.Conv2d):
    """As timm's and TensorFlow's: the padding depends on the images' size."""

    def forward(self, x: Tensor) -> Tensor:
        high, wide = (
            max((-(-side // stride) - 1) * stride + kernel - side, 0)
            for side, stride, kernel in zip(x.shape[2:], self.stride, self.kernel_size, strict=True)
        )
        padded = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        return F.conv2d(padded, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


KINDS = {
    "square": nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6),
    "several filters per channel, without bias": nn.Conv2d(4, 8, 5, stride=3, padding=2, groups=4, bias=False),
    "strides that differ": nn.Conv2d(3, 3, 3, stride=(1, 2), padding=(0, 1), dilation=(1, 2), groups=3),
    "of a class with a padding of its own": PaddedAsNeeded(6, 6, 5, stride=2, groups=6),
}


@pytest.fixture(params=KINDS)
def layer(request: pytest.FixtureRequest) -> nn.Conv2d:
    kind: nn.Conv2d = copy.deepcopy(KINDS[request.param])
    return kind


def spared(layer: nn.Conv2d) -> nn.Module:
    network = nn.Sequential(copy.deepcopy(layer))
    spare_strides(network)
    assert isinstance(network[0], SparedStrides)
    spare_strides(network)  # which changes nothing more
    return network[0]


def test_output_and_gradients_are_the_convolutions(layer: nn.Conv2d) -> None:
    faster = spared(layer)
    images = torch.randn(2, layer.in_channels, 13, 11, generator=torch.Generator().manual_seed(0))
    outputs, gradients = [], []
    for module in (layer, faster):
        given = images.clone().requires_grad_()
        output: Tensor = module(given)
        output.square().sum().backward()
        outputs.append(output.detach())
        gradients.append([given.grad, *(weight.grad for weight in module.parameters())])
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_without_a_gradient_it_is_the_convolution_itself(layer: nn.Conv2d) -> None:
    images = torch.randn(2, layer.in_channels, 13, 11)
    with torch.no_grad():
        assert torch.equal(spared(layer)(images), layer(images))


def test_only_strided_depth_wise_convolutions_are_replaced() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3, stride=2), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3, stride=2, groups=2)
    )
    spare_strides(network)
    assert [type(module) for module in network] == [nn.Conv2d] * 3


@pytest.mark.parametrize(
    ("name", "strided"),
    [("mobilenetv2", 3), ("torchvision.models:mobilenet_v2", 4), ("torchvision.models:resnet18", 0)],
)
def test_networks_with_them_train_so(name: str, strided: int) -> None:
    network = MODELS.load(name)(3, 32)
    assert sum(isinstance(module, SparedStrides) for module in network.modules()) == strided
