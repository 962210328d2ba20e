"""A model: three convolutions, two of them depthwise separable, for a device with hardly any memory."""

from torch import nn


class DepthwiseCNN(nn.Sequential):
    """Depthwise separable convolutions that end in 128 features: some 12,000 weights."""

    def __init__(self, channels: int, image_size: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(channels, 32, 3, stride=2, padding=1), nn.ReLU()]
        for width in (32, 64):
            layers += [
                nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width),
                nn.Conv2d(width, 2 * width, 1, bias=False),
                nn.BatchNorm2d(2 * width),
                nn.ReLU(),
            ]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
