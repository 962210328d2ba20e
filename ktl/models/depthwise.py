"""Depth-wise convolutions with a stride, made fast to train through on a processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class SparedStrides(nn.Conv2d):
    """A depth-wise convolution with a stride. Where a gradient will pass it computes all positions and leaves some out.

    The same numbers, to rounding. On processors the way back takes a tenth of the time: the library has no fast one for
    strides. Without a gradient, and so in an exported graph, it is an ordinary convolution.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and x.requires_grad and x.device.type == "cpu"):
            return super().forward(x)
        with _EveryPosition():
            return super().forward(x)


class _EveryPosition(TorchFunctionMode):
    """Convolutions within it compute all positions. So it does not matter how a layer pads what it is given."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function is not torch.conv2d:
            return function(*args, **(kwargs or {}))
        x, weight, bias, (down, across), *rest = args
        return function(x, weight, bias, 1, *rest)[:, :, ::down, ::across]


def spare_strides(network: nn.Module) -> None:
    """Turns every depth-wise convolution with a stride into one of `SparedStrides`, with the same weights and names.

    Also those of classes derived from nn.Conv2d, which pad in ways of their own.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1 and max(module.stride) > 1:
            module.__class__ = _spared(type(module))


def _spared(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    if issubclass(kind, SparedStrides):
        return kind
    if kind is nn.Conv2d:
        return SparedStrides
    return type(f"Spared{kind.__name__}", (SparedStrides, kind), {})
