"""A convolutional encoder so small that a discriminator looks through it in no time."""

from __future__ import annotations

from torch import Tensor, nn

from ktl.encoders.base import Encoder
from ktl.seeds import initialising


class SmallNetwork(nn.Module):
    """Normalisations, a padding of its own and a depth-wise stride, as pre-trained networks have them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.first = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), nn.Conv2d(8, 12, 1), nn.ReLU())
        self.second = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(12, 16, 3, stride=2), nn.BatchNorm2d(16))
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.pool(self.second(self.first(self.stem(images))))
        return maps.flatten(1)


class Convolutional(Encoder):
    """With the statistics of normalisations that were trained."""

    name, fingerprint, dimension, image_size = "convolutional", "convolutional", 16, 32
    mean, deviation = (0.5, 0.4, 0.3), (1.0, 0.5, 0.25)

    def __init__(self) -> None:
        with initialising(0, "convolutional"):
            self.network: nn.Module = SmallNetwork()
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    assert module.running_mean is not None
                    assert module.running_var is not None
                    module.weight.data.fill_(6.0)
                    module.running_mean.normal_()
                    module.running_var.uniform_(0.5, 2.0)
        self.network.eval()

    def features(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images)
        return features
