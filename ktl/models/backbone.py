"""What makes any network an edge's feature extractor: its pooled feature vector, brought to 512 numbers."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from ktl.errors import UsageError

FEATURE_DIM = 512


class Backbone(nn.Module):
    """images (n, channels, size, size) -> features (n, 512): `body`'s feature vector, adaptively average-pooled."""

    feature_dim = FEATURE_DIM
    pooling: Tensor

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.body = body
        self.width = width
        self.register_buffer("pooling", pooling_matrix(width, FEATURE_DIM), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images).flatten(1)
        return features if self.width == FEATURE_DIM else features @ self.pooling.to(features.dtype)


def pooling_matrix(width: int, wanted: int) -> Tensor:
    """(width, wanted): a product with it is adaptive average pooling, as torch defines it, in a form that ONNX has.

    Output i is the mean of inputs floor(i width / wanted) to ceil((i + 1) width / wanted), the last one excluded; a
    narrower vector is so repeated.
    """
    matrix = torch.zeros(width, wanted)
    for i in range(wanted):
        start, end = i * width // wanted, -(-(i + 1) * width // wanted)
        matrix[start:end, i] = 1.0 / (end - start)
    return matrix


class OwnModel:
    """What a model of your own must be: an nn.Module class, named as module:Class or as an entry point of `ktl.models`.

    `kind(channels, image_size)` builds it for images of 1 (grey) or 3 (RGB) channels and `image_size` pixels; it turns
    images, float32 (n, channels, image_size, image_size) in [-1, 1], into features, float32 (n, width), of whatever
    width; further dimensions are flattened. It has no classifier: ktl puts its own behind the 512 features that
    `Backbone` makes of them. Its initial weights may come from torch's random numbers, which ktl seeds; a class that
    loads trained ones says so by an attribute of the class, `pretrained = True`. A function of torchvision.models that
    makes a classification model is taken too, without weights: see `Headless`.

    This is the constructor (channels, image_size) of the extractor.
    """

    def __init__(self, name: str, kind: Any) -> None:
        """Raises UsageError if `kind` is neither a module class nor such a function."""
        if isinstance(kind, FunctionType) and kind.__module__.rpartition(".")[0] == "torchvision.models":
            from ktl.models.headless import Headless  # imports torchvision, which models of your own may do without

            self._make: Callable[[int, int], nn.Module] = lambda _, image_size: Headless(kind, image_size)
            self._advice = "; try another --image-size"
        elif isinstance(kind, type) and issubclass(kind, nn.Module):
            self._make, self._advice = kind, ""
        else:
            raise UsageError(f"model {name!r} is no nn.Module class: give module:Class")
        self.name = name
        self.kind = kind
        self.pretrained = getattr(kind, "pretrained", False) is True
        self.__doc__ = kind.__doc__  # its first line is what listings say

    def __call__(self, channels: int, image_size: int) -> Backbone:
        """Raises UsageError if the model cannot be built so or gives something else than features."""
        name = self.name
        try:
            body = self._make(channels, image_size)
            with torch.no_grad():
                features = body.eval()(torch.zeros(2, channels, image_size, image_size))
        except Exception as error:  # the user's code may raise anything
            reason = f"{type(error).__name__}: {error}".splitlines()[0] + self._advice
            called = f"{self.kind.__name__}({channels}, {image_size})"
            raise UsageError(f"model {name!r} fails as {called}: {reason}") from error
        if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != 2:
            shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise UsageError(f"model {name!r} turns 2 images into {shape}: it must return features (n, width)")
        if getattr(body, "pretrained", False) is True and not self.pretrained:
            raise UsageError(f"model {name!r} says `pretrained` in its constructor alone: say it in the class's body")
        return Backbone(body.train(), features[0].numel())
