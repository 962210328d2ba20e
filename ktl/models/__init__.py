"""Edge models: a feature extractor by name, and the ETF classifier on top of it."""

from ktl.registry import Registry

MODELS = Registry(
    "model",
    {"cnn4": ("ktl.models.compact:FourLayerCNN", "2 convolutions + 2 dense layers: the compact CNN of the paper")},
)
