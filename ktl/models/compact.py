"""The 4-layer CNN of the cloud-edge scheme: two convolutions, two dense layers (the second is the classifier's h)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ktl.errors import UsageError

MIN_IMAGE_SIZE = 16  # pixels: below that, nothing is left after two unpadded 5 x 5 convolutions and pools


class FourLayerCNN(nn.Module):
    """images (n, channels, size, size) in [-1, 1] -> features (n, 512).

    Two unpadded 5 x 5 convolutions of 32 and 64 maps, each with ReLU and 2 x 2 max-pooling, then a dense layer with
    ReLU; at 32 x 32 that layer has 1,600 inputs. Raises UsageError for images under 16 x 16.
    """

    feature_dim = 512

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        if image_size < MIN_IMAGE_SIZE:
            raise UsageError(f"model cnn4 needs images of at least 16 x 16, not {image_size}: set --image-size 32")
        self.conv1 = nn.Conv2d(channels, 32, 5)
        self.conv2 = nn.Conv2d(32, 64, 5)
        side = ((image_size - 4) // 2 - 4) // 2
        self.dense = nn.Linear(64 * side * side, self.feature_dim)

    def forward(self, images: Tensor) -> Tensor:
        x = self._pooled(self.conv1(images))
        x = self._pooled(self.conv2(x))
        return F.relu(self.dense(x.flatten(1)))

    def _pooled(self, maps: Tensor) -> Tensor:
        """ReLU and max-pooling, which commute to the bit: after pooling there is a quarter as much to train, while in
        an exported network a ReLU is free right after its convolution.
        """
        return F.relu(F.max_pool2d(maps, 2)) if self.training else F.max_pool2d(F.relu(maps), 2)
